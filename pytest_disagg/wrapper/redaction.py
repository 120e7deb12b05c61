"""Removes secrets from what is printed: the rules of ``pytest_disagg.redact`` in small, for logs that only we write.

Three nets: values of environment variables whose names look secret, assignments to such names (shell, flags, JSON),
and shapes that only secrets have (credentials in URLs, bearer tokens, well-known token prefixes).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote

MASK = "***"
MIN_LENGTH = 4
"""Known values shorter than this (characters) are not searched for: ``1`` would mask every figure of a log."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET = _set(
    "secret secrets password passwords passwd passphrase passcode psw credential credentials cred creds "
    "jwt cookie cookies apikey apikeys accesskey authkey secretkey privatekey authtoken accesstoken "
    "authorization bearer"
)
_NOT_A_VALUE = _set(
    "file files path paths dir folder name length len size count counts type enabled required timeout ttl "
    "policy expiry expires"
)
_NOT_A_SECRET_TOKEN = _set(
    "throughput id ids num max min total first next last per pad eos bos unk sep cls mask stop special "
    "draft generated accepted time speed rate latency avg mean median std budget limit usage embedding "
    "chunk batch step kv new"
)
_SECRET_KEY_OF = _set(
    "api access auth secret private ssh encryption signing sign master account storage client service "
    "deploy hmac aes rsa shared session subscription jwt webhook license authorization admin root token "
    "request"
)
_NOT_A_SECRET_KEY = _set("public sort cache primary partition foreign hot group series match hash map index")
_NOT_A_PASSWORD = _set("forward backward first second third single multi one two by bypass must test old")
_SETTINGS = _set("true false none null auto default disabled enabled")


def secret_name(name: str) -> bool:
    """Whether a variable, key or flag of that name holds a secret, by its words, as ``HF_TOKEN`` does."""
    words = [word.lower() for word in _WORDS.findall(name)]
    while words and words[-1].isdigit():
        words.pop()
    if not words or words[-1] in _NOT_A_VALUE:
        return False
    last, before_last = words[-1], words[-2] if len(words) > 1 else ""
    if _SECRET.intersection(words) or last == "auth":
        return True
    if last in ("pass", "pwd"):
        return bool(before_last) and before_last not in _NOT_A_PASSWORD
    if "token" in words:
        return not _NOT_A_SECRET_TOKEN.intersection(words)
    if last == "tokens":
        return before_last in ("api", "auth", "access", "refresh", "bearer")
    if any(word in ("key", "keys") and words[at] in _SECRET_KEY_OF for at, word in enumerate(words[1:])):
        return True
    return last == "key" and name.isupper() and before_last not in _NOT_A_SECRET_KEY


_NAME = r"(?<![A-Za-z0-9_.\-])-{0,2}(?P<name>[A-Za-z_][A-Za-z0-9_.\-]{0,99})"
_BEGIN = r"(?P<value>(?!\*\*\*)(?:"
_QUOTED = r"""\\+"(?:(?!\\+").){0,4096}\\+"|"(?:[^"\\]|\\.){0,4096}"|'[^']{0,4096}'"""
_SHELL = re.compile(_NAME + r"(?P<link>=)" + _BEGIN + _QUOTED + r"""|\\.|[^\s"'])+)""")
_JSON = re.compile(
    _NAME + r"""(?P<link>\\*["'][ \t]*[:,][ \t]*)""" + _BEGIN + _QUOTED + r"""|\[[^\]\n]{0,2048}\]|[^\s,)}\]"']+))"""
)
_YAML = re.compile(_NAME + r"(?P<link>:[ \t]+)" + _BEGIN + _QUOTED + r"""|[^\n"'{\[]+))""")
_FLAG = re.compile(
    r"(?<![^\s\"'\[])--(?P<name>[A-Za-z][A-Za-z0-9_\-]{0,99})(?P<link>[ \t]+)" + _BEGIN + r"""[^\s-]\S*))"""
)
_QUOTED_WORD = re.compile(r"""(?P<quote>["'])-{0,2}(?P<name>[A-Za-z_][\w.\-]{0,99})=(?P<value>[^\n]*?)(?P=quote)""")
_USER = re.compile(r"((?:^|(?<=\s))(?:-u|--user)(?:[ \t]+|=)[\"']?[^\s:\"'/]{1,256}:)[^\s\"']+")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[\s\S]*?-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|[\s\S]*)"
)
_KEEP = re.compile(r"""(?:""|''|null|None|\$\w+|\$\{\w+\}|<\w+>|"\$\w+"|"\$\{\w+\}"|\*\*\*)\Z""")

_URL = re.compile(
    r"""://(?:[^\s/"'<>?#@]{0,256}:[^\s/"'<>]{0,512}|[^\s/"'<>?#@:]{1,256}"""
    r"""|[^\s/@:"'<>]{0,256}:(?!\d+[/?#])[^\s@"'<>]{0,512})@"""
)
_QUERY = re.compile(
    r"(?i)([?&](?:sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token|access_token|token|key|code)=)"
    r"[^\s&\"'#]+"
)
_HEADERS = (
    re.compile(
        r"""(?i)(authorization\\*["']?[ \t]{0,8}[:=,][ \t]{0,8}\\*["']?)(?:[A-Za-z][\w\-]{0,32}[ \t]+)?[^\s"'\\]+"""
    ),
    re.compile(r"""(?i)(cookie\\*["']?[ \t]{0,8}:[ \t]{0,8}\\*["']?)[^"'\n\\]+"""),
    re.compile(r"(?i)(bearer[ \t]+)(?!tokens?\b|auth\w*\b)[A-Za-z0-9._~+/=\-]{6,}"),
)
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|sk-(?=[\w\-]{0,40}\d)[\w\-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|glpat-[\w\-]{16,}|xox[abeoprs]-[\w\-]{10,}|A[KS]IA[A-Z0-9]{16}|AIza[\w\-]{30,}"
    r"|nvapi-[\w\-]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[\w\-]{30,}|eyJ[\w\-]{8,4096}\.[\w\-]{8,}(?:\.[\w\-]*)?)"
)


def _known(environ: Mapping[str, str]) -> list[str]:
    """Every form of every secret value in ``environ``, the longest first."""
    forms: set[str] = set()
    for name, value in environ.items():
        if not secret_name(name) or value.lower() in _SETTINGS or (value.isdigit() and len(value) < 6):
            continue
        for part in {value, value.strip(), *value.splitlines()}:
            if len(part) >= MIN_LENGTH and not _KEEP.match(part):
                forms.update((part, quote(part, safe=""), part.replace("\\", "\\\\").replace('"', '\\"')))
    return sorted(forms, key=len, reverse=True)


_values: list[str] | None = None


def redact(text: str) -> str:
    """``text`` with every secret replaced by ``***``. This process's environment is read at the first use."""
    global _values
    if _values is None:
        _values = _known(os.environ)
    for value in _values:
        text = text.replace(value, MASK)
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _URL.sub("://" + MASK + "@", text)
    text = _QUERY.sub(r"\g<1>" + MASK, text)
    text = _TOKENS.sub(MASK, text)
    for header in _HEADERS:
        text = header.sub(r"\g<1>" + MASK, text)
    for pattern in (_QUOTED_WORD, _SHELL, _JSON, _YAML, _FLAG):
        text = pattern.sub(_masked, text)
    return _USER.sub(r"\g<1>" + MASK, text)


def _masked(found: re.Match[str]) -> str:
    value = found.group("value")
    if not value or not secret_name(found.group("name")) or _KEEP.match(value):
        return found.group()
    quotes = re.match(r"""\\*["']""", value)
    mask = quotes.group() + MASK + quotes.group() if quotes and found.re is not _QUOTED_WORD else MASK
    start, end = found.span("value")
    return found.group()[: start - found.start()] + mask + found.group()[end - found.start() :]


def redacted_environment(environ: Mapping[str, str]) -> list[str]:
    """``NAME=value`` lines in the order of the names; values of secret names are ``***``."""
    lines = []
    for name in sorted(environ):
        value = environ[name]
        lines.append(f"{name}={MASK if value and secret_name(name) else redact(value)}")
    return lines
