"""bash is the oracle: what ``eval`` starts, we start, with the same words and the same environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_disagg.wrapper.command import interpret

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/root",
    "SLURM_LOCALID": "3",
    "UCX_TLS": "tcp",
    "OLD": "old",
    "EMPTY": "",
    "PATHS": "/a/b",
    "SPACED": "a  b c",
    "HOSTILE": "$(touch x); `y` 'z' \"w\" \\ * & | > < ~ {1,2}",
    "LINES": "one\ntwo\n",
    "PLAIN_WORDS": "--one --two=2",
}
DUMP = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open(os.environ['DUMP'], 'w'))"

SAME = [
    "PROGRAM",
    "PROGRAM a b",
    "  PROGRAM\t a   b ",
    "PROGRAM 'a b' \"c d\" e\\ f",
    "PROGRAM 't.py::test_e2e[disagg-e2e-x_1]'",
    "PROGRAM t.py::test_e2e[disagg_upload-deepseek-r1-fp4_1k1k_ctx1_gen1_dep8_bs768_eplb0_mtp0_ccb-UCX] -vv",
    "PROGRAM no*such?file [a-b] *.none",
    "PROGRAM '' \"\" a''b \"\"'x'",
    'PROGRAM a\\\nb "c\\\nd"',
    'PROGRAM "\\$OLD \\` \\" \\\\ \\n" \'\\$OLD \\n\'',
    "PROGRAM a=b --x=y --x='y z' -k 'not slow'",
    'PROGRAM $ a$ $. "$" "a $"',
    "PROGRAM a#b 'a;b' \"a|b\" a\\;b a\\>b",
    "PROGRAM {} {a} a{b}c '{a,b}' \"{1..3}\" {a\\,b}",
    "PROGRAM a~b '~' \\~ x/~",
    'PROGRAM $PATHS ${PATHS}/c x$PATHS "${PATHS}x"',
    'PROGRAM "$SPACED" "$HOSTILE" "$LINES"',
    'PROGRAM --data="$HOSTILE"',
    'PROGRAM $EMPTY "$EMPTY" a$EMPTY $EMPTY$EMPTY --x=$EMPTY',
    "PROGRAM $PLAIN_WORDS",
    "PROGRAM cache_${SLURM_LOCALID} \\${SLURM_LOCALID} '${SLURM_LOCALID}'",
    "A=1 PROGRAM",
    "A=1 B='x y' C=\"z $OLD\" D= E='' PROGRAM $OLD",
    "OLD=new PROGRAM $OLD",
    "A=1 B=$A C=${A}2 OLD=$B PROGRAM",
    'A=$SPACED B="$HOSTILE" C=$LINES PROGRAM',
    "A={1,2} B=a*b C='~' D=x~y PROGRAM",
    "A=a=b B=== PROGRAM C=1",
    "unset UCX_TLS && PROGRAM",
    "unset UCX_TLS NOT_THERE OLD && A=1 PROGRAM",
    "export A=1 && PROGRAM $A",
    "export OLD=new B=$OLD && PROGRAM $OLD $B",
    'export A=\'x y\' B="$SPACED" C=$SPACED && PROGRAM "$A"',
    "export OLD && PROGRAM",
    'export "A=b c" && PROGRAM',
    "unset A && unset B && export C=1 && export D=$C && unset C && E=$D PROGRAM $D",
    "unset UCX_TLS&&PROGRAM",
    "unset OLD && export OLD=x && OLD=y PROGRAM $OLD",
    "'PRO'GRAM a",
    "env A=1 PROGRAM",
]

WRITTEN_OUT = [
    # Text with variables that are words of their own, those variables, and the same text with them written out.
    ("$V PROGRAM", {"V": "A=1 B='x y'"}, "A=1 B='x y' PROGRAM"),
    ("$NONE $COMMON PROGRAM", {"NONE": "", "COMMON": "  "}, "PROGRAM"),
    ("$PARTIAL", {"PARTIAL": "A=1 PROGRAM 'x y' t[a-b]"}, "A=1 PROGRAM 'x y' t[a-b]"),
    ("PROGRAM $MORE", {"MORE": "-k 'a b' \"c d\""}, "PROGRAM -k 'a b' \"c d\""),
    ("$U $P", {"U": "unset UCX_TLS && export A=1 &&", "P": "PROGRAM $A"}, "unset UCX_TLS && export A=1 && PROGRAM $A"),
    (
        "$A",
        {"A": "X=1 $B", "B": "Y=$X ${C} last", "C": 'PROGRAM "$SPACED" ${SLURM_LOCALID}'},
        'X=1 Y=$X PROGRAM "$SPACED" ${SLURM_LOCALID} last',
    ),
    ("$LAUNCH $TEST", {"LAUNCH": "env N=1", "TEST": "PROGRAM 'a b'"}, "env N=1 PROGRAM 'a b'"),
    ("export $V && PROGRAM", {"V": "A=1 B='2 3'"}, "export A=1 B='2 3' && PROGRAM"),
    ("unset $NAMES && PROGRAM", {"NAMES": "OLD UCX_TLS"}, "unset OLD UCX_TLS && PROGRAM"),
]


def program(folder: Path) -> Path:
    path = folder / "PROGRAM"
    path.write_text(f"#!{sys.executable}\n{DUMP}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def by_bash(text: str, folder: Path, variables: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    dump = folder / "bash.json"
    env = {**variables, "PATH": f"{folder}:{variables['PATH']}", "DUMP": str(dump), "TEXT": text}
    subprocess.run(["bash", "-c", 'eval "$TEXT"'], env=env, cwd=folder, check=True)
    argv, environ = json.loads(dump.read_text())
    return argv, {name: value for name, value in environ.items() if name not in ("_", "SHLVL", "PWD", "OLDPWD", "TEXT")}


def by_us(text: str, folder: Path, variables: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    dump = folder / "ours.json"
    env = {**variables, "PATH": f"{folder}:{variables['PATH']}", "DUMP": str(dump)}
    command = interpret(text, env)
    subprocess.run(command.argv, env=command.env, cwd=folder, check=True)
    argv, environ = json.loads(dump.read_text())
    return argv, {**environ, "DUMP": str(folder / "bash.json")}


@pytest.mark.parametrize("texts", [SAME[start::4] for start in range(4)], ids=["1", "2", "3", "4"])
def test_the_words_and_the_environment_are_those_of_bash(tmp_path: Path, texts: list[str]) -> None:
    program(tmp_path)
    for text in texts:
        ours, theirs = by_us(text, tmp_path, ENVIRONMENT), by_bash(text, tmp_path, ENVIRONMENT)
        assert (text, ours[0]) == (text, theirs[0])
        assert (text, ours[1]) == (text, theirs[1])


@pytest.mark.parametrize(("text", "variables", "written_out"), WRITTEN_OUT, ids=[row[0] for row in WRITTEN_OUT])
def test_a_variable_alone_counts_as_if_it_had_been_written_out(
    tmp_path: Path, text: str, variables: dict[str, str], written_out: str
) -> None:
    program(tmp_path)
    environment = {**ENVIRONMENT, **variables}
    assert by_us(text, tmp_path, environment) == by_bash(written_out, tmp_path, environment)


def test_a_newline_between_words_only_separates_them_as_in_an_unquoted_eval(tmp_path: Path) -> None:
    program(tmp_path)
    ours = by_us("A=1\nPROGRAM a\n  b\n", tmp_path, ENVIRONMENT)
    assert ours == by_bash("A=1 PROGRAM a b", tmp_path, ENVIRONMENT)
