"""Access tokens of Campus and of PyJWT: each must take the other's, and refuse the same ones."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import jwt

SECRET = "a secret that both sides know, long enough for any HMAC: 0123456789abcdef0123456789abcdef"
PASSWORD = "correct horse battery"


class Campus:
    """A server of its own, on a free port and an empty database."""

    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        variables = {
            "CAMPUS_SEED": "none",
            "CAMPUS_ADMIN_PASSWORD": PASSWORD,
            "CAMPUS_ADDR": "127.0.0.1:0",
            "JWT_SECRET": SECRET,
            "LOG_FILTER": "warn",
        }
        self.process = subprocess.Popen(
            [program, "serve"], cwd=self.folder.name, env=variables, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        self.url = line.removeprefix("Campus").strip()
        if not self.url.startswith("http://"):
            sys.exit(f"pyjwt: the server did not start: {line!r}")

    def ask(self, path, token=None, body=None):
        """The status and the JSON of an answer."""
        request = urllib.request.Request(self.url + path)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.load(refusal)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.folder.cleanup()


def check(what, holds):
    if not holds:
        sys.exit(f"pyjwt: FAILED: {what}")
    print(f"ok  {what}")


def refused_by_pyjwt(what, error, token, key=SECRET, algorithms=("HS256",), **options):
    try:
        jwt.decode(token, key, algorithms=list(algorithms), **options)
    except error:
        return print(f"ok  PyJWT refuses ours {what}")
    sys.exit(f"pyjwt: FAILED: PyJWT takes our token {what}")


def ours_at_pyjwt(token):
    head = jwt.get_unverified_header(token)
    check("our header names HS256 and JWT", head == {"alg": "HS256", "typ": "JWT"})
    needed = {"require": ["sub", "iat", "exp"]}
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options=needed)
    check("PyJWT takes our token", claims["role"] == "admin" and claims["typ"] == "access")
    check("our token lives as long as it says", claims["exp"] - claims["iat"] == 900)
    refused_by_pyjwt("with another key", jwt.InvalidSignatureError, token, key=SECRET[::-1])
    refused_by_pyjwt("as HS512", jwt.InvalidAlgorithmError, token, algorithms=["HS512"])
    refused_by_pyjwt("for another audience", jwt.InvalidTokenError, token, audience="elsewhere")
    head, body, signature = token.split(".")
    other = ("A" if signature[0] != "A" else "B") + signature[1:]
    refused_by_pyjwt("with a changed signature", jwt.InvalidSignatureError, f"{head}.{body}.{other}")
    return claims


def theirs_at_campus(campus, ours):
    now = int(time.time())
    claims = {"sub": ours["sub"], "role": "admin", "typ": "access", "iat": now, "exp": now + 300}

    def status(key=SECRET, algorithm="HS256", headers=None, **changes):
        changed = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        token = jwt.encode(changed, key, algorithm=algorithm, headers=headers)
        return campus.ask("/auth/me", token)[0]

    good = {
        "as it is": {},
        "with a key id": {"headers": {"kid": "1"}},
        "valid since now": {"nbf": now},
        "with an id of its own": {"jti": "x"},
        "for us among others": {"aud": ["elsewhere", "campus"]},
    }
    for what, changes in good.items():
        check(f"Campus takes PyJWT's token {what}", status(**changes) == 200)
    bad = {
        "signed with HS384": {"algorithm": "HS384"},
        "signed with HS512": {"algorithm": "HS512"},
        "not signed at all": {"algorithm": "none", "key": None},
        "with another key": {"key": SECRET[::-1]},
        "that has expired": {"iat": now - 600, "exp": now - 300},
        "that is not valid yet": {"nbf": now + 300},
        "without an expiry": {"exp": None},
        "without a role": {"role": None},
        "without a type": {"typ": None},
        "of another type": {"typ": "refresh"},
        "of another issuer": {"iss": "elsewhere"},
        "for another audience": {"aud": "elsewhere"},
        "with a critical header": {"headers": {"crit": ["b64"], "b64": True}},
    }
    for what, changes in bad.items():
        check(f"Campus refuses PyJWT's token {what}", status(**changes) == 401)


def main(program):
    campus = Campus(program)
    try:
        login = {"email": "admin@campus.local", "password": PASSWORD}
        status, session = campus.ask("/auth/login", body=login)
        check("the admin logs in", status == 200)
        claims = ours_at_pyjwt(session["access_token"])
        theirs_at_campus(campus, claims)
    finally:
        campus.stop()
    print(f"PyJWT {jwt.__version__} and Campus agree")


main(sys.argv[1])
