"""A mail server for tests, by Debian's aiosmtpd: mail_server.py FOLDER [--tls|--starttls] [--login USER:PASSWORD] [--most MAILS]

It keeps each mail as FOLDER/mails/NUMBER.json, and says "listening on PORT". What stands before the `@` of a
recipient says what it answers: `later-451`, `never-550` at RCPT, `big-552`, `full-452` after the mail, `grey` is told 451
at the first try, `cut` has its connection closed after the mail was taken and before it is told so.
"""

import argparse
import asyncio
import itertools
import json
import os
import re
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--tls", action="store_true")
parser.add_argument("--starttls", action="store_true")
parser.add_argument("--login")
parser.add_argument("--most", type=int, default=0)
parser.add_argument("--port", type=int, default=0)
args = parser.parse_args()

numbers = itertools.count(1)
connections = itertools.count(1)
seen = set()


def told(address):
    return re.fullmatch(r"[a-z]+-(\d{3})", address.split("@")[0])


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, options):
        if args.most and getattr(session, "mails", 0) >= args.most:
            server.transport.close()
            return "421 4.7.0 too many mails over one connection"
        session.mails = getattr(session, "mails", 0) + 1
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        word = address.split("@")[0]
        reply = told(address)
        if word == "grey" and word not in seen:
            seen.add(word)
            return "451 4.7.1 greylisted, come back later"
        if reply and word.startswith(("later", "never")):
            return f"{reply[1]} 5.1.1 <{address}> as you wish"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        for address in envelope.rcpt_tos:
            reply = told(address)
            if reply:
                return f"{reply[1]} 5.3.4 as you wish"
        number = next(numbers)
        if not hasattr(session, "number"):
            session.number = next(connections)
        mail = {
            "connection": session.number,
            "tls": session.ssl is not None or args.tls,
            "user": session.auth_data.decode() if getattr(session, "auth_data", None) else None,
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "data": envelope.content.decode("ascii", "backslashreplace"),
        }
        path = os.path.join(args.folder, "mails", f"{number:06}.json")
        with open(path + ".part", "w") as file:
            json.dump(mail, file)
        os.rename(path + ".part", path)
        if any(address.startswith("cut@") for address in envelope.rcpt_tos) and "cut" not in seen:
            seen.add("cut")
            server.transport.abort()
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    user, password = args.login.split(":")
    if mechanism in ("PLAIN", "LOGIN") and (data.login, data.password) == (user.encode(), password.encode()):
        return AuthResult(success=True, auth_data=data.login)
    return AuthResult(success=False, handled=False)


def context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(args.folder, "cert.pem"), os.path.join(args.folder, "key.pem"))
    return context


def protocol():
    options = {}
    if args.starttls:
        options.update(tls_context=context(), require_starttls=True)
    if args.login:
        options.update(authenticator=authenticate, auth_required=True, auth_require_tls=not args.tls)
    return SMTP(Handler(), hostname="mail.test", enable_SMTPUTF8=False, **options)


async def main():
    os.makedirs(os.path.join(args.folder, "mails"), exist_ok=True)
    secure = context() if args.tls else None
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", args.port, ssl=secure)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


sys.exit(asyncio.run(main()))
