"""The channel "mail": a short e-mail by SMTP (RFC 5321), which names nobody."""

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP

from node.deliver.answer import Answer, Verdict
from node.deliver.messages import Message, secret, sentences
from node.errors import BadConfiguration, NoConnection, Retryable
from node.settings import Destination, Settings
from node.states import Priority
from node.visible import visible

_VERDICTS = {
    Priority.SUSPECTED: "hemorrhage SUSPECTED, unverified",
    Priority.NOT_SUSPECTED: "hemorrhage not suspected",
}
_SUBJECTS = {
    "retract": "suspicion TAKEN BACK",
    "escalation": "NOT ACKNOWLEDGED: hemorrhage suspected, unverified",
}

WITHDRAWN = "result WITHDRAWN, read as usual"
FAILURES = (smtplib.SMTPException, OSError, ValueError)
"""What smtplib raises; ValueError of a challenge that is no base64, or a password beyond ASCII."""


def probe(destination: Destination, settings: Settings) -> str:
    """Return that a mail server takes our login; no mail is sent.

    Raises
    ------
    Retryable
        If it does not answer, or its certificate is not trusted.
    BadConfiguration
        If the login is missing or refused.
    """
    try:
        with _server(destination, settings) as server:
            code, _ = server.noop()
    except smtplib.SMTPAuthenticationError as error:
        raise BadConfiguration(f"the login is refused: SMTP {error.smtp_code}") from error
    except FAILURES as error:
        raise Retryable(_failure(error)) from error
    plain = "; not encrypted" if destination.mail.security == "none" else ""
    return f"answers (SMTP {code}){plain}"


def compose(message: Message, destination: Destination) -> EmailMessage:
    """Return the e-mail; the same message has the same Message-ID (RFC 5322, 3.6.4)."""
    said, subject = message.said, message.said.priority
    mail = EmailMessage(policy=SMTP)
    verdict = _VERDICTS.get(subject, "NOT ANALYSED, read as usual")
    about = WITHDRAWN if said.withdrawn else _SUBJECTS.get(message.event, verdict)
    mail["Subject"] = f"ichnode: {about} (research only)"
    mail["From"] = destination.mail.sender
    mail["To"] = destination.mail.recipient
    mail["Date"] = datetime.fromisoformat(said.at)
    mail["Message-ID"] = f"<{message.key}@ichnode.invalid>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is reported to us
    named = {"Accession number": said.accession_number, "Study": said.study_instance_uid}
    if destination.patient_id:
        named["Patient ID"] = said.patient_id
    lines = [*sentences(message), "", *(f"{name}: {value}" for name, value in named.items())]
    mail.set_content("\n".join(visible(line) for line in lines) + "\n")
    return mail


def post(destination: Destination, message: Message, settings: Settings) -> Answer:
    """Send one message by SMTP; return how that ended."""
    return hand_over(compose(message, destination), destination, settings)


def hand_over(mail: EmailMessage, destination: Destination, settings: Settings) -> Answer:
    """Give an e-mail to a destination's server; return how that ended."""
    try:
        with _server(destination, settings) as server:
            server.send_message(mail)
    except BadConfiguration as error:
        return Answer(Verdict.REFUSED, message=str(error))
    except NoConnection as error:
        return Answer(Verdict.DOWN, message=str(error))
    except FAILURES as error:
        return Answer(_verdict(error), message=_failure(error))
    return Answer(Verdict.STORED)


@contextmanager
def _server(destination: Destination, settings: Settings) -> Iterator[smtplib.SMTP]:
    """Yield the mail server, encrypted and logged in as the settings say."""
    mail = destination.mail
    context = ssl.create_default_context(cafile=mail.ca_file or None)
    login = secret(mail.login_variable) if mail.login_variable else ""
    server = _connected(destination, context, settings.deliver.timeout_s)
    try:
        if mail.security == "starttls":
            server.starttls(context=context)
        if login:
            user, _, password = login.partition(":")
            server.login(user, password)
        yield server
        _leave(server)
    finally:
        server.close()


def _connected(destination: Destination, context: ssl.SSLContext, timeout_s: float) -> smtplib.SMTP:
    host, port = destination.host, destination.port
    try:
        if destination.mail.security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=timeout_s, context=context)
        return smtplib.SMTP(host, port, timeout=timeout_s)
    except smtplib.SMTPResponseException:  # the server answers, and says no
        raise
    except OSError as error:
        raise NoConnection(_failure(error)) from error


def _leave(server: smtplib.SMTP) -> None:
    """Say goodbye; the mail is accepted whatever comes of it."""
    try:
        server.quit()
    except (smtplib.SMTPException, OSError):
        return


def _codes(error: Exception) -> list[int]:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return [code for code, _ in error.recipients.values()]
    return [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else []


def _verdict(error: Exception) -> Verdict:
    """Return what follows from an error: 5yz is permanent (RFC 5321, 4.2.1)."""
    if isinstance(error, smtplib.SMTPAuthenticationError | smtplib.SMTPNotSupportedError):
        return Verdict.REFUSED
    codes = _codes(error)
    permanent = bool(codes) and all(500 <= code < 600 for code in codes)
    return Verdict.FINAL if permanent else Verdict.AGAIN


def _failure(error: Exception) -> str:
    codes = ", ".join(f"SMTP {code}" for code in _codes(error))
    return codes or f"no answer: {type(error).__name__}"
