#!/usr/bin/env bash
# Runs cases or test lists as Slurm jobs, as a CI stage does: one work directory for this build, one folder to archive.
#
#   run_list.sh run ARCHIVE ARGUMENT...   disagg run ARGUMENT..., then finish
#   run_list.sh finish ARCHIVE            cancels what is left of this build's jobs; fills ARCHIVE (junit.xml, runs/)
#   run_list.sh limit ARGUMENT...         prints how many minutes a run with these arguments may take, queue included
#   run_list.sh remove                    deletes this build's work directory
#
# DISAGG_WORK_DIR   a folder that login node and compute nodes share; each build gets a folder of its own in it
# BUILD_TAG         names the build (Jenkins sets it)
# DISAGG            the command (default: disagg)
# QUEUE_MINUTES     limit: how long jobs may wait for nodes, all in all (default: 240)
#
# The exit code of `run` is that of `disagg run`. TERM, which Jenkins sends when a build is aborted, cancels the jobs.
set -euo pipefail

fail() {
    echo "run_list.sh: $*" >&2
    exit 4
}

disagg=${DISAGG:-disagg}
command -v "$disagg" >/dev/null || fail "DISAGG: found no command $disagg"
[ -n "${DISAGG_WORK_DIR:-}" ] || fail "DISAGG_WORK_DIR: found nothing, expected a folder that all nodes share"
[ -n "${BUILD_TAG:-}" ] || fail "BUILD_TAG: found nothing, expected a name that no other build has"
work_dir=$DISAGG_WORK_DIR/$BUILD_TAG
export DISAGG_WORK_DIR=$work_dir

run() {
    [ $# -ge 2 ] || fail "run: found $# arguments, expected a folder to archive into and the arguments of disagg run"
    local archive=$1 code signaled child
    shift
    mkdir -p "$archive"
    # Jenkins ends every process of a build that carries this, wherever it finds one. The jobs are ended by Slurm.
    unset JENKINS_SERVER_COOKIE
    "$disagg" run "$@" --junitxml="$archive/junit.xml" &
    child=$!
    trap 'signaled=yes; kill -TERM "$child" 2>/dev/null || true' TERM INT HUP
    while true; do
        signaled=no code=0
        wait "$child" || code=$?
        # A trapped signal ends wait, not the child.
        [ "$signaled" = yes ] || break
    done
    finish "$archive" || echo "run_list.sh: something may be left, or missing in $archive: see above" >&2
    return "$code"
}

finish() {
    [ $# -eq 1 ] || fail "finish: found $# arguments, expected a folder to archive into"
    [ -d "$work_dir" ] || return 0
    local job queued jobs=()
    queued=$(squeue --me --noheader --format=%A)
    for job in $queued; do
        [ ! -L "$work_dir/jobs/$job" ] || jobs+=("$job")
    done
    [ "${#jobs[@]}" -eq 0 ] || "$disagg" cancel "${jobs[@]}"
    # Not for others: secrets/ (gone by now, unless something was killed) and job.sh, which holds the environment of the
    # cluster file as it is (disagg run --dry-run shows it redacted). Links become files: Jenkins keeps no links.
    mkdir -p "$1/runs"
    tar -C "$work_dir" --exclude=secrets --exclude=job.sh --exclude='jobs/*-*' --exclude='jobs/*/bin' \
        --dereference --ignore-failed-read -cf - . | tar -C "$1/runs" -xf -
}

# Whatever order the jobs run in: no more than all their time limits divided among --max-jobs, and the longest beyond it.
limit() {
    local word before="" name value attempts=1 at_once=0
    for word in "$@"; do
        case $word in
            --*=*) name=${word%%=*} value=${word#*=} ;;
            *) name=$before value=$word ;;
        esac
        case $name in
            --retries) attempts=$((value + 1)) ;;
            --max-jobs) at_once=$value ;;
        esac
        before=$word
    done
    # A list with a broken line still has jobs for the others: the run itself says what is wrong with it.
    { "$disagg" run "$@" --dry-run || true; } | awk -v attempts="$attempts" -v at_once="$at_once" -v queue="${QUEUE_MINUTES:-240}" '
        sub(/^#SBATCH --time=/, "") { sum += $1; if ($1 > longest) longest = $1 }
        END {
            if (!sum) exit 1
            print int(queue + attempts * (longest + (at_once ? sum / at_once : 0)) + 10)
        }' || fail "limit: disagg run --dry-run shows no job, see above"
}

remove() {
    rm -rf -- "$work_dir"
}

case ${1:-} in
    run | finish | limit | remove) "$@" ;;
    *) fail "found ${1:-nothing}, expected run, finish, limit or remove" ;;
esac
