"""Write the labeller's figures into docs/archive.md: `python -m tests.label_table`."""

from tests.support.labelled import BEGIN, DOCUMENT, END, figures


def main() -> None:
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{figures()}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
