"""The settings; a module for each part of the file, and `load` for the whole."""

from node.settings.alarms import Alarms
from node.settings.assemble import Assemble
from node.settings.audit import Audit
from node.settings.backup import Backup
from node.settings.canary import Canary
from node.settings.coverage import Coverage
from node.settings.deliver import Deliver
from node.settings.destination import EVENTS, Destination, Escalation, Event, Hl7, Mail, Webhook
from node.settings.file import DEFAULT_FILE, Log, Settings, load, with_changes
from node.settings.health import Health
from node.settings.peers import peer, source
from node.settings.pull import Pull, Source
from node.settings.receive import Adt, Caller, Receive
from node.settings.retention import Retention, Rule
from node.settings.section import Section, sections, values
from node.settings.shadow import Shadow
from node.settings.shown import as_toml
from node.settings.storage import Storage
from node.settings.tls import ClientTls, ServerTls, is_this_machine
from node.settings.watch import Watch
from node.settings.web import LOOPBACK, Oidc, Token, Viewer, Web
from node.settings.work import BUNDLES, Decode, Triage, Work, bundle_folder, bundle_name

__all__ = [
    "Adt",
    "Assemble",
    "Audit",
    "BUNDLES",
    "Backup",
    "Caller",
    "ClientTls",
    "DEFAULT_FILE",
    "Alarms",
    "Canary",
    "Coverage",
    "Decode",
    "Deliver",
    "Destination",
    "EVENTS",
    "Escalation",
    "Event",
    "Health",
    "Hl7",
    "LOOPBACK",
    "Log",
    "Mail",
    "Oidc",
    "Pull",
    "Receive",
    "Retention",
    "Rule",
    "Section",
    "ServerTls",
    "Settings",
    "Shadow",
    "Source",
    "Storage",
    "Token",
    "Triage",
    "Viewer",
    "Watch",
    "Web",
    "Webhook",
    "Work",
    "as_toml",
    "bundle_folder",
    "bundle_name",
    "is_this_machine",
    "load",
    "peer",
    "sections",
    "source",
    "values",
    "with_changes",
]
