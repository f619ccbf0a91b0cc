"""`ichnode jobs`: what the node does by the clock, and how that went."""

from node.cli.commands.invocation import Config, Json, configured, print_list


def jobs(config: Config = None, as_json: Json = False) -> None:
    """Print each job of the node: its last run, its next run, and what went wrong last.

    The role that delivers runs them.
    """
    from node.cli.console.jobs import jobs_table
    from node.clock import utc_now
    from node.worklist import Worklist

    with configured(config) as settings, Worklist(settings.url) as worklist:
        now = utc_now()
        print_list(
            worklist.jobs.listed(),
            lambda lines: jobs_table(lines, now),
            "the role that delivers has not run yet",
            as_json=as_json,
        )
