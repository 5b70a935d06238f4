"""Hrefs made readable at the moment they are read; the only module that imports planetary-computer."""

import json
from datetime import UTC, datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from spaceeye_stac.errors import ReadError
from spaceeye_stac.model import Scene
from spaceeye_stac.sources import UNREADABLE, patient, profile_named, reason

if TYPE_CHECKING:
    from planetary_computer.sas import SASToken


TIMEOUT_SECONDS = 8.0
RETRY_SECONDS = 14.0
FRESH_SECONDS = 300  # with less left, another token is asked for
VALID_SECONDS = 10  # with less left, a token is not used
AGAIN_SECONDS = 60.0  # between two requests for a token while the one there is still valid
BLOB_DOMAIN = ".blob.core.windows.net"
PUBLIC_ACCOUNT = "ai4edatasetspublicassets"
SIGNED_FIELDS = frozenset({"st", "se", "sp", "sig"})
_one_at_a_time = Lock()
_failed: dict[str, tuple[float, str]] = {}  # when and why no token was had: threads that wait need not try again
_asked: dict[str, float] = {}  # when one was asked for last
_given_again: set[str] = set()  # tokens that were refused, and that the service gave once more


class PlainHrefs:
    """Hrefs that need no token."""

    def __call__(self, href: str) -> str:
        """Return the href as it is."""
        return href

    def renewed(self, href: str, refused: str) -> str | None:  # noqa: ARG002 - of one shape with AzureTokens
        """None: there is nothing to renew."""
        return None


class AzureTokens:
    """Hrefs in Azure's blob storage with a token of Planetary Computer's service; other hrefs as they are.

    Tokens are in planetary-computer's own cache, one for each container. With less than `FRESH_SECONDS` left another is
    asked for, once for all, and the one there is used as long as it is valid. Raises ReadError, within half a minute,
    when none can be had.
    """

    def __call__(self, href: str) -> str:
        """Return the href with a token that is valid now, in place of one of a saved item that has ended."""
        href = _without_old_token(href)
        place = _place(href)
        if place is None:
            return href
        with _one_at_a_time:
            return str(_token(place).sign(href).href)

    def renewed(self, href: str, refused: str) -> str | None:
        """Return the href with another token than `refused` has; None where there is no other."""
        from planetary_computer.sas import TOKEN_CACHE  # noqa: PLC0415 - only its own scenes need it

        href = _without_old_token(href)
        place = _place(href)
        if place is None:
            return None
        with _one_at_a_time:
            token = _token(place)
            if token.sign(href).href == refused and token.token not in _given_again:  # else it is renewed by now
                del TOKEN_CACHE[place]
                if _token(place).token == token.token:
                    _given_again.add(token.token)
            again = str(_token(place).sign(href).href)
        return None if again == refused else again


class MaskTokens(AzureTokens):
    """Tokens for the href of a mask alone."""

    def __init__(self, mask: str) -> None:
        self._mask = mask

    def __call__(self, href: str) -> str:
        """Return the mask's href with a token, any other as it is."""
        return super().__call__(href) if href == self._mask else href

    def renewed(self, href: str, refused: str) -> str | None:
        """See `AzureTokens`."""
        return super().renewed(href, refused) if href == self._mask else None


def signed(scene: Scene) -> PlainHrefs | AzureTokens:
    """Return what turns an href of this scene into one that can be read now; its results are never kept.

    A mask from another item is signed as that item's profile says, or as the scene's own.
    """
    mask = scene.labels
    if _signs(scene.profile):
        return AzureTokens()
    theirs = mask is not None and mask.source is not None and _signs(mask.source.profile)
    return MaskTokens(mask.href) if mask is not None and theirs else PlainHrefs()


def _signs(profile: str) -> bool:
    return bool(profile) and profile_named(profile).signing == "planetary-computer"


def _without_old_token(href: str) -> str:
    """A blob's href without a token that says that it has ended; any other as it is."""
    parts = urlsplit(href)
    fields = parse_qs(parts.query)
    if not parts.netloc.endswith(BLOB_DOMAIN) or not fields.keys() & SIGNED_FIELDS:
        return href
    try:
        end = datetime.fromisoformat(fields["se"][0])
    except (KeyError, ValueError):
        return href
    ended = (end if end.tzinfo else end.replace(tzinfo=UTC)) < datetime.now(UTC)
    return parts._replace(query="", fragment="").geturl() if ended else href


def _place(href: str) -> str | None:
    """Where the token for an href is had; None where it needs none."""
    parts = urlsplit(href)
    account = parts.netloc.removesuffix(BLOB_DOMAIN)
    if account in {parts.netloc, PUBLIC_ACCOUNT} or parse_qs(parts.query).keys() & SIGNED_FIELDS:
        return None
    from planetary_computer.settings import Settings as Service  # noqa: PLC0415

    return f"{Service.get().sas_url}/{account}/{parts.path.lstrip('/').partition('/')[0]}"


def _token(place: str) -> "SASToken":
    """Token from the cache while it is fresh, else from the service, by requests that end.

    planetary-computer's own `get_token` has no timeout and tries eleven times.
    """
    from planetary_computer.sas import TOKEN_CACHE, SASToken  # noqa: PLC0415
    from planetary_computer.settings import Settings as Service  # noqa: PLC0415

    token = TOKEN_CACHE.get(place)
    valid = token is not None and token.ttl() >= VALID_SECONDS
    lately = monotonic() - _asked.get(place, -AGAIN_SECONDS) < AGAIN_SECONDS
    if token is not None and (token.ttl() >= FRESH_SECONDS or (valid and lately)):
        return token
    when, why = _failed.get(place, (-RETRY_SECONDS, ""))
    if monotonic() - when >= RETRY_SECONDS:
        _asked[place] = monotonic()
        key = Service.get().subscription_key
        headers = {"Ocp-Apim-Subscription-Key": key} if key else None
        try:
            text = patient(TIMEOUT_SECONDS, RETRY_SECONDS).request(place, headers=headers)
            token = TOKEN_CACHE[place] = SASToken(**json.loads(text))
        except UNREADABLE as error:
            why = reason(error)
            _failed[place] = monotonic(), why
        else:
            return token
    if token is not None and valid:
        return token
    account = "/".join(place.rsplit("/", 2)[1:])
    raise ReadError(f"Assets in {account} cannot be signed: {why}; check the network and try again.")
