"""Removes secrets from text, environments and plain data, before they reach a log, a record, a report or a junit file.

Three nets, each of which catches what the others miss: values known to be secret (:func:`register`, and the values of
this process's environment variables whose names look secret), assignments to names that look secret (shell, JSON,
YAML, Python, command-line flags), and shapes that only secrets have (credentials in URLs, ``Authorization`` headers,
well-known token prefixes, private key blocks). When in doubt a value is removed: a report that lacks a word is cheaper
than a leak.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from urllib.parse import quote

MASK = "***"
MIN_LENGTH = 4
"""Known values shorter than this (characters) are not searched for: ``1`` would mask every figure of a log."""

_SETTINGS = frozenset({"true", "false", "none", "null", "auto", "default", "disabled", "enabled"})


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled at its first use: this module is imported by every command, and most redact nothing."""
    return re.compile(pattern)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"
_ALWAYS = _set(
    "secret secrets password passwords passwd passphrase passcode psw credential credentials cred creds jwt cookie "
    "cookies apikey apikeys accesskey authkey secretkey privatekey authtoken accesstoken authorization bearer"
)
_NOT_A_VALUE = _set(
    "file files path paths dir folder name length len size count counts type enabled required timeout ttl policy "
    "expiry expires"
)
_NOT_A_SECRET_TOKEN = _set(
    "throughput id ids num max min total first next last per pad eos bos unk sep cls mask stop special draft generated "
    "accepted time speed rate latency avg mean median std budget limit usage embedding chunk batch step kv new"
)
_SECRET_KEY_OF = _set(
    "api access auth secret private ssh encryption signing sign master account storage client service deploy hmac aes "
    "rsa shared session subscription jwt webhook license authorization admin root token request"
)
_NOT_A_SECRET_KEY = _set("public sort cache primary partition foreign hot group series match hash map index")
_NOT_A_PASSWORD = _set("forward backward first second third single multi one two by bypass must test")


@lru_cache(maxsize=4096)
def secret_name(name: str) -> bool:
    """Whether a variable, key, header or flag of that name holds a secret, by its words (snake, kebab or camel case).

    ``HF_TOKEN``, ``internal_request_auth_key``, ``X-Api-Key``, ``dbPassword`` do; ``max_tokens``, ``tokenizer``,
    ``token_throughput``, ``num_keys``, ``MONKEY``, ``SECRET_FILE`` (a path) do not.
    """
    words = [word.lower() for word in _compiled(_WORDS).findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words or words[-1] in _NOT_A_VALUE:
        return False
    present = set(words)
    if present & _ALWAYS or words[-1] == "auth":
        return True
    before_last = words[-2] if len(words) > 1 else ""
    if words[-1] in ("pass", "pwd"):
        return bool(before_last) and before_last not in _NOT_A_PASSWORD | {"old"}
    if "token" in present:
        return not present & _NOT_A_SECRET_TOKEN
    if words[-1] == "tokens":
        return before_last in ("api", "auth", "access", "refresh", "bearer")
    for before, word in zip(["", *words], words, strict=False):
        if word in ("key", "keys") and before in _SECRET_KEY_OF:
            return True
    return words[-1] == "key" and name.isupper() and before_last not in _NOT_A_SECRET_KEY


_KEYWORDS = ("token", "secret", "pass", "psw", "pwd", "key", "cred", "auth", "cookie", "jwt", "bearer")
_NAME_CHARS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_MAX_NAME = 100
_REST_OF_NAME = rf"[A-Za-z0-9_.\-]{{1,{_MAX_NAME}}}"
_FILE_NAME = (".yaml", ".yml", ".json", ".py", ".log", ".md", ".csv", ".txt", ".sh", ".xml")

_LINK = (
    r"""(?P<quote>\\*["'])?(?:[ \t]*(?:={1,3}>?|:=|:(?!:))[ \t]*"""
    r"""|\s{0,80},?\s{0,80}\\*["']?value\\*["']?[ \t]*:[ \t]*"""  # {"name": "HF_TOKEN", "value": "x"}
    r"""|[ \t]*,\s{0,80}(?=\\*["'])"""  # ('HF_TOKEN', 'x'), ["--token", "x"]
    r"""|(?P<space>[ \t]+(?![\s\-])))"""
)
_VALUE = (
    r"""\\+"(?:(?!\\+").){0,4096}\\+"|"""  # a JSON string inside a JSON string
    r"""\[[^\]\n]{0,2048}\]|\{[^{}\n]{0,2048}\}|"""
    r"""\$?(?:"(?:[^"\\]|\\.){0,4096}"|'(?:[^'\\]|\\.){0,4096}')(?:\\.|[^\s,;:&|)}\]\0])*|"""
    r"""["'][^\n]+|"""
    r"""(?:\\.|"[^"\n]{0,512}"|'[^'\n]{0,512}'|[^\s\0])+"""
)
_BEFORE_YAML_KEY = r"[ \t]*(?:- +)?"
_TO_END_OF_LINE = r"[^\n]*"

_KEEP = r"""(?:""|''|null|None|~|\$\w+|\$\{\w+\}|<\w+>|"\$\w+"|"\$\{\w+\}"|\*\*\*)?[,;)}\]"']*\Z"""

_URL = (
    r"""://(?:[^\s/"'<>?#@]{0,256}:[^\s/"'<>]{0,512}|[^\s/"'<>?#@:]{1,256}"""
    r"""|[^\s/@:"'<>]{0,256}:(?!\d+[/?#])[^\s@"'<>]{0,512})@"""
)
_QUERY = (
    r"(?i)([?&](?:sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token|access_token|token|key|code)=)"
    r"[^\s&\"'#]+"
)
_AUTHORIZATION = (
    r"""(?i)(authorization\\*["']?[ \t]{0,8}[:=,][ \t]{0,8}\\*["']?)(?:[A-Za-z][\w\-]{0,32}[ \t]+)?[^\s"'\\]+"""
)
_COOKIE = r"""(?i)(cookie\\*["']?[ \t]{0,8}:[ \t]{0,8}\\*["']?)[^"'\n\\]+"""
_BEARER = r"(?i)(bearer[ \t]+)(?!tokens?\b|auth\w*\b)[A-Za-z0-9._~+/=\-]{6,}"
_USER = r"((?:^|(?<=\s))(?:-u|--user)(?:[ \t]+|=)[\"']?[^\s:\"'/]{1,256}:)[^\s\"']+"
_TOKENS = tuple(
    (prefix, rf"(?<![A-Za-z0-9]){prefix}{rest}")
    for prefix, rest in {
        "hf_": "[A-Za-z0-9]{16,}",
        "sk-": r"(?=[\w\-]{0,40}\d)[\w\-]{16,}",
        "ghp_": "[A-Za-z0-9]{20,}",
        "gho_": "[A-Za-z0-9]{20,}",
        "ghu_": "[A-Za-z0-9]{20,}",
        "ghs_": "[A-Za-z0-9]{20,}",
        "ghr_": "[A-Za-z0-9]{20,}",
        "github_pat_": r"\w{20,}",
        "glpat-": r"[\w\-]{16,}",
        "xox": r"[abeoprs]-[\w\-]{10,}",
        "AKIA": "[A-Z0-9]{16}",
        "ASIA": "[A-Z0-9]{16}",
        "AIza": r"[\w\-]{30,}",
        "nvapi-": r"[\w\-]{16,}",
        "npm_": "[A-Za-z0-9]{30,}",
        "pypi-": r"[\w\-]{30,}",
        "eyJ": r"[\w\-]{8,4096}\.[\w\-]{8,}(?:\.[\w\-]*)?",
    }.items()
)
"""Tokens known by their prefix; a plain search for the prefix comes first, because it is what a big log costs."""

_PRIVATE_KEY = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\s\S]*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|[\s\S]*)"
)


class _Known:
    """Values to be masked wherever they occur. The environment is read at the first use: no caller can forget it."""

    def __init__(self) -> None:
        self._longest_first: tuple[str, ...] = ()
        self._environment_read = False

    def add(self, values: Iterable[str]) -> None:
        forms = {form for value in values for form in _forms(value)}
        self._longest_first = tuple(sorted(forms.union(self._longest_first), key=len, reverse=True))

    def mask(self, text: str) -> str:
        if not self._environment_read:
            self._environment_read = True
            register_environ(os.environ)
        for value in self._longest_first:
            text = text.replace(value, MASK)
        return text


def _forms(value: str) -> Iterable[str]:
    """The ways in which a value shows up: as it is, quoted for a URL, escaped in JSON, and line by line."""
    for part in {value, value.strip(), *value.splitlines()}:
        if len(part) < MIN_LENGTH or part.lower() in _SETTINGS or MASK in part:
            continue
        yield part
        yield quote(part, safe="")
        yield part.replace("\\", "\\\\").replace('"', '\\"')


_known = _Known()


def register(value: str) -> None:
    """Mask ``value`` wherever it occurs from now on. Ignored below :data:`MIN_LENGTH` characters."""
    _known.add([value])


def register_environ(environ: Mapping[str, str]) -> None:
    """Mask the values of all variables in ``environ`` whose names look secret. This process's own are always known."""
    _known.add(
        value
        for name, value in environ.items()
        if secret_name(name) and not (value.isdigit() and len(value) < 6) and not _compiled(_KEEP).match(value)
    )


def _keyword_positions(text: str) -> list[int]:
    lowered = text.lower()
    if len(lowered) != len(text):
        # A few capital letters grow when lowered, which would shift every position after them.
        lowered = "".join(char.lower() if char.isascii() else char for char in text)
    positions = []
    for word in _KEYWORDS:
        at = lowered.find(word)
        while at >= 0:
            positions.append(at)
            at = lowered.find(word, at + len(word))
    positions.sort()
    return positions


def _name_at(text: str, at: int, leftmost: int) -> tuple[int, int]:
    """Start and end of the name around a keyword, without the dashes of a flag and the full stop of a sentence."""
    start = at
    while start > leftmost and at - start < _MAX_NAME and text[start - 1] in _NAME_CHARS:
        start -= 1
    rest = _compiled(_REST_OF_NAME).match(text, at)
    end = rest.end() if rest else at
    while end > at and text[end - 1] in ".-":
        end -= 1
    while start < at and text[start] in ".-":
        start += 1
    return start, end


def _is_flag(text: str, start: int) -> bool:
    """Whether ``-`` or ``--`` stands before the name; a longer run of dashes is a rule around a heading."""
    before = text[max(0, start - 3) : start]
    return before.endswith("-") and before != "---"


def _yaml_value_end(text: str, start: int, value_at: int) -> int | None:
    """Where a plain or block scalar ends if the name at ``start`` is a YAML key at the start of its line, else None."""
    nearest = max(0, start - 2 * _MAX_NAME)
    newline = text.rfind("\n", nearest, start)
    before = text[newline + 1 if newline >= 0 else nearest : start]
    if newline < 0 < nearest or not _compiled(_BEFORE_YAML_KEY).fullmatch(before):
        return None
    if text[value_at : value_at + 1] in ("", "\n", '"', "'", "[", "{"):
        return None
    found = _compiled(_TO_END_OF_LINE).match(text, value_at)
    end = found.end() if found else value_at
    if text[value_at] not in "|>":
        return end
    indent = len(before) - len(before.lstrip(" \t"))
    while end < len(text):
        line = _compiled(_TO_END_OF_LINE).match(text, end + 1)
        line_text = line.group() if line else ""
        if line_text.strip() and len(line_text) - len(line_text.lstrip(" \t")) <= indent:
            break
        end += 1 + len(line_text)
    return min(end, len(text))


def _quoted_word_end(text: str, start: int, link: re.Match[str]) -> int | None:
    """Where the value ends in a word quoted as a whole (``export 'NAME=a b'`` as bash traces it), else None."""
    mark = text[start - 1 : start]
    if mark not in ("'", '"') or link["quote"] or "=" not in link[0]:
        return None
    end_of_line = _compiled(_TO_END_OF_LINE).match(text, link.end())
    limit = end_of_line.end() if end_of_line else len(text)
    closing = text.find(mark, link.end(), limit)
    return limit if closing < 0 else closing


def _mask_assignments(text: str) -> str:
    """Mask what is assigned, in any of the notations above, to a name that :func:`secret_name` knows."""
    pieces: list[str] = []
    done = name_end = 0
    for at in _keyword_positions(text):
        if at < name_end:
            continue
        start, name_end = _name_at(text, at, done)
        name = text[start:name_end]
        if not secret_name(name) or name.endswith(_FILE_NAME):
            continue
        link = _compiled(_LINK).match(text, name_end)
        if link is None or (link["space"] and not _is_flag(text, start)):
            continue
        value_end = _yaml_value_end(text, start, link.end()) if link[0].lstrip().startswith(":") else None
        value_end = value_end or _quoted_word_end(text, start, link)
        if value_end is None:
            value = _compiled(_VALUE).match(text, link.end())
            if value is None:
                continue
            value_end = value.end()
        masked = _masked_value(text[link.end() : value_end], named_in=link["quote"] or "")
        pieces += text[done : link.end()], masked
        done = name_end = value_end
    return "".join([*pieces, text[done:]]) if pieces else text


def _masked_value(value: str, named_in: str) -> str:
    """``***`` in the quotes that ``value`` had or, where the name was quoted (JSON, a Python literal), in those."""
    if _compiled(_KEEP).match(value):
        return value
    if not named_in:
        mark = value[0] if value[0] in "\"'" else ""
        return f"{mark}{MASK}{mark}"
    bare = value[0] not in "\"'\\[{"
    cut = re.search(r"[,}\]]", value) if bare else None
    return f"{named_in}{MASK}{named_in}{value[cut.start() :] if cut else ''}"


def redact(text: str) -> str:
    """``text`` with every secret replaced by ``***``. Applying it twice changes nothing more."""
    text = _known.mask(text)
    if "PRIVATE KEY" in text:
        text = _compiled(_PRIVATE_KEY).sub(MASK, text)
    if "://" in text:
        text = _compiled(_URL).sub(f"://{MASK}@", text)
        if "=" in text:
            text = _compiled(_QUERY).sub(rf"\g<1>{MASK}", text)
    for prefix, pattern in _TOKENS:
        if prefix in text:
            text = _compiled(pattern).sub(MASK, text)
    lowered = text.lower()
    for word, pattern in (("authorization", _AUTHORIZATION), ("cookie", _COOKIE), ("bearer", _BEARER)):
        if word in lowered:
            text = _compiled(pattern).sub(rf"\g<1>{MASK}", text)
    text = _mask_assignments(text)
    return _compiled(_USER).sub(rf"\g<1>{MASK}", text) if "-u" in text else text


def redact_env(environ: Mapping[str, str]) -> dict[str, str]:
    """A copy of an environment, in its order: values of secret names are ``***``, the others pass :func:`redact`."""
    return {name: MASK if value and secret_name(name) else redact(value) for name, value in environ.items()}


def redact_data(data: object) -> object:
    """A copy of plain data (as read from YAML or JSON) that JSON can hold, without its secrets.

    A secret key's value becomes ``***`` whatever its type, strings pass :func:`redact`, and what JSON does not know
    (paths, dates) becomes its text.
    """
    if data is None or isinstance(data, (float, int)):  # first: a load's result has millions of them
        return data
    if isinstance(data, Mapping):
        return {
            str(key): MASK if value not in (None, "") and secret_name(str(key)) else redact_data(value)
            for key, value in data.items()
        }
    if isinstance(data, (list, tuple, set, frozenset)):
        return [redact_data(item) for item in data]
    return redact(str(data))
