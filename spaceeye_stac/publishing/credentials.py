"""Credentials for an API, from the environment alone."""

import os
import re
import shlex
import subprocess
from base64 import b64encode
from threading import Lock
from urllib.parse import urlsplit

import requests

from spaceeye_stac.errors import TargetError
from spaceeye_stac.publishing.targets import Target, same_origin

TOKEN = "SPACEEYE_STAC_TOKEN"  # noqa: S105 - names of environment variables
TOKEN_COMMAND = "SPACEEYE_STAC_TOKEN_COMMAND"  # noqa: S105
USER, PASSWORD = "SPACEEYE_STAC_USER", "SPACEEYE_STAC_PASSWORD"
HEADER = "SPACEEYE_STAC_HEADER"
TOKEN_COMMAND_SECONDS = 60.0
SCHEMES = frozenset({"bearer", "basic"})
SHORTEST_PART = 4  # a secret this long is hidden inside of other words, too


class Credentials(requests.auth.AuthBase):
    """What the environment gives, set on each request; a token command runs when a token is first needed or expired.

    Never goes in clear to another machine. requests' own .netrc is not read, as this stands in its place.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = Lock()
        self._made: tuple[str, str] | None = None

    @property
    def present(self) -> bool:
        """Whether the environment gives any."""
        return self._header() is not None

    def hidden_in(self, text: str) -> str:
        """A text without what is sent as credentials, should a server have repeated it."""
        header = self._header()
        secrets = {os.environ.get(PASSWORD, "")}
        if header is not None:
            parts = [*header[1].split(), *re.split(r"[\s;,=:\"']+", header[1])]
            secrets |= {header[1], *(word for word in parts if word.lower() not in SCHEMES)}
        for secret in sorted(secrets - {"", "-"}, key=len, reverse=True):
            alone = re.escape(secret) if len(secret) >= SHORTEST_PART else rf"(?<!\w){re.escape(secret)}(?!\w)"
            text = re.sub(alone, "***", text)
        return text

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header of a request to the target; any other request goes without."""
        header, url = self._header(), request.url or ""
        if header is not None and same_origin(url, self._target.address) and self._below(url):
            request.headers[header[0]] = header[1]
        return request

    def _below(self, url: str) -> bool:
        root, path = (urlsplit(one).path.rstrip("/") for one in (self._target.address, url))
        return path == root or path.startswith(f"{root}/")

    def renew(self, refused: requests.PreparedRequest) -> bool:
        """Drop the token of a refused request where it came from a command; says whether to try once more."""
        if not os.environ.get(TOKEN_COMMAND):
            return False
        with self._lock:
            if self._made is not None and refused.headers.get("Authorization") == self._made[1]:
                self._made = None
        return True

    def _header(self) -> tuple[str, str] | None:
        with self._lock:
            if self._made is None:
                self._made = _sendable(self._from_environment())
                if self._made and self._target.address.startswith("http:") and not self._target.loopback:
                    raise TargetError(f"{self._target.address} would get the credentials unencrypted; use https://.")
            return self._made

    def _from_environment(self) -> tuple[str, str] | None:
        env = os.environ
        if env.get(TOKEN_COMMAND):
            return "Authorization", f"Bearer {_token_of(env[TOKEN_COMMAND])}"
        if env.get(TOKEN):
            return "Authorization", f"Bearer {env[TOKEN].strip()}"
        if env.get(USER):
            pair = f"{env[USER]}:{env.get(PASSWORD, '')}"
            return "Authorization", f"Basic {b64encode(pair.encode()).decode()}"
        if env.get(HEADER):
            name, colon, value = env[HEADER].partition(":")
            if not colon:
                raise TargetError(f'{HEADER} is not as "X-Api-Key: ..."; write it with the header\'s name and a colon.')
            return name.strip(), value.strip() or "-"
        return None


def _sendable(header: tuple[str, str] | None) -> tuple[str, str] | None:
    """A header as it is; TargetError, without what it says, where HTTP has no such header."""
    if header is None:
        return None
    name, value = header
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[\x20-\x7e\xa0-\xff]+", value):
        raise TargetError(
            "The credentials in the environment hold a line break or a sign that no HTTP header can hold; "
            f"see {TOKEN}, {TOKEN_COMMAND}, {USER}, {PASSWORD} and {HEADER}."
        )
    return header


def _token_of(command: str) -> str:
    """The token that a command prints; TargetError, without what it printed, where there is none."""
    try:
        line = shlex.split(command)
    except ValueError:
        raise TargetError(f"{TOKEN_COMMAND} has a quote without its end; mend the command.") from None
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            line, capture_output=True, text=True, check=False, timeout=TOKEN_COMMAND_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"{TOKEN_COMMAND} cannot be run: {type(error).__name__}; mend the command.") from None
    token = done.stdout.strip()
    if done.returncode or not token or "\n" in token:
        raise TargetError(f"{TOKEN_COMMAND} gave no token (exit code {done.returncode}); it must print one line.")
    return token
