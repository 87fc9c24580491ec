"""aiosmtpd, whose controller runs a loop in a thread; the client is smtplib, which blocks."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
import threading
from email.message import EmailMessage

import pytest
from servers import free_port

pytest.importorskip("aiosmtpd")
from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.smtp import AuthResult


class Handler:
    """Keeps the mail, and what loop it came by."""

    def __init__(self) -> None:
        self.received: list[tuple[str, list[str], bytes]] = []
        self.loops: set[str] = set()
        self.over_tls: list[bool] = []

    async def handle_DATA(self, server, session, envelope):
        self.loops.add(type(asyncio.get_running_loop()).__module__.partition(".")[0])
        self.over_tls.append(session.ssl is not None)
        self.received.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 OK"


@pytest.fixture
def serving(new_loop, loop_name):
    """A context manager: a handler and the port of a server that hands it the mail."""

    @contextlib.contextmanager
    def serving(**options):
        handler, loop = Handler(), new_loop()
        # Port 0 is not for this program, as it connects to itself by the number it was given.
        port = free_port()
        controller = Controller(handler, "127.0.0.1", port, loop, **options)
        controller.start()
        try:
            yield handler, port
        finally:
            controller.stop()
        assert loop.is_closed()
        assert handler.loops <= {loop_name}

    return serving


def mail(number, size=1000):
    message = EmailMessage()
    message["From"], message["To"] = f"from-{number}@example.org", "to@example.org"
    message["Subject"] = f"Number {number}"
    message.set_content("\n.\n".join(["0123456789" * 7] * (size // 72)))  # with lines of one dot
    return message


def content(message):
    return message.as_bytes().replace(b"\n", b"\r\n")


@pytest.mark.parametrize("size", [1000, 500_000])
def test_mail_and_many_at_once(serving, size):
    def send(number):
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            client.send_message(mail(number, size))

    with serving() as (handler, port):
        senders = [threading.Thread(target=send, args=(n,)) for n in range(5)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert sorted(handler.received) == [
        (f"from-{n}@example.org", ["to@example.org"], content(mail(n, size))) for n in range(5)
    ]


def test_starttls_in_the_middle_of_a_connection(serving, certificate):
    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=data.password == b"secret", handled=False)

    options = {"tls_context": certificate.server, "auth_required": True}
    with serving(authenticator=authenticate, **options) as (handler, port):
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            with pytest.raises(smtplib.SMTPNotSupportedError):  # with the password in the open
                client.login("somebody", "secret")
            client.starttls(context=certificate.client)
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("somebody", "wrong")
            client.login("somebody", "secret")
            for number in range(20):
                client.send_message(mail(number, 100_000))
        client = smtplib.SMTP("127.0.0.1", port, timeout=60)
        with client, pytest.raises(ssl.SSLCertVerificationError):
            client.starttls(context=ssl.create_default_context())
    assert [body for _, _, body in handler.received] == [
        content(mail(number, 100_000)) for number in range(20)
    ]
    assert all(handler.over_tls)


def test_tls_from_the_start(serving, certificate):
    with (
        serving(ssl_context=certificate.server) as (handler, port),
        smtplib.SMTP_SSL("127.0.0.1", port, context=certificate.client) as client,
    ):
        client.send_message(mail(1, 500_000))
    assert [body for _, _, body in handler.received] == [content(mail(1, 500_000))]


def test_clients_that_hang_up(serving):
    with serving() as (handler, port):
        for _ in range(50):
            client = smtplib.SMTP("127.0.0.1", port, timeout=60)
            client.ehlo()
            client.mail("from@example.org")
            client.rcpt("to@example.org")
            client.putcmd("data")
            client.getreply()
            client.send(b"the beginning of a mail")
            client.close()
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            client.send_message(mail(1))
    assert len(handler.received) == 1


def test_a_unix_socket(new_loop, loop_name, tmp_path):
    path, handler = tmp_path / "s", Handler()
    controller = UnixSocketController(handler, path, loop=new_loop())
    controller.start()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        client = smtplib.SMTP()
        client.sock, client.host = sock, "localhost"
        assert client.getreply()[0] == 220
        client.send_message(mail(1))
        client.quit()
    controller.stop()
    assert handler.loops == {loop_name} and len(handler.received) == 1
