"""Checks one signed request with other people's code; says `ok` or why not.

Standard input is one JSON object: `headers`, `body`, and `secret` (whsec_...) or `public_key` (whpk_...).
"""

import base64
import json
import sys

asked = json.load(sys.stdin)
headers, body = asked["headers"], asked["body"]
try:
    if "secret" in asked:
        from standardwebhooks import Webhook

        Webhook(asked["secret"]).verify(body, headers)
    else:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(asked["public_key"].removeprefix("whpk_")))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
        ok = False
        for token in headers["webhook-signature"].split(" "):
            version, signature = token.split(",")
            if version == "v1a":
                try:
                    key.verify(base64.b64decode(signature, validate=True), signed)
                    ok = True
                except Exception:
                    pass
        if not ok:
            raise ValueError("no matching signature")
    print("ok")
except Exception as problem:
    print(f"{type(problem).__name__}: {problem}")
