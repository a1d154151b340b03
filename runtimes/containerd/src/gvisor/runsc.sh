#!/bin/sh
# runsc as the shim of runc expects a runtime to be. Two things differ:
# - runsc gives a container of a pod the streams of `start`, not those of `create`;
# - a container of a pod is no process of the node: the number that `create` leaves is that of the whole sandbox.
# So each container of a pod has a waiter. It holds the streams from `create` on, it is what the shim takes for the
# container, and it ends when the container does, with its exit code.
set -u

if [ "${1:-}" = wait-for ]; then
    bundle=$2
    shift 2
    # It ends with the container and not before.
    trap '' HUP INT QUIT TERM USR1 USR2
    until [ -e "$bundle/started" ]; do
        [ -d "$bundle" ] && [ ! -e "$bundle/failed" ] || exit 128
        sleep 0.05
    done
    said=$(exec runsc "$@" </dev/null 2>/dev/null) || exit 137
    code=$(printf '%s' "$said" | tr -d ' \n\t' | sed -n 's/.*"exitStatus":\([0-9]*\).*/\1/p')
    exit "${code:-137}"
fi

command=
before=
bundle=
pids=
id=
expect=
for word in "$@"; do
    case $expect in
    log) bundle=${word%/*} ;;
    pids) pids=$word ;;
    esac
    case $expect:$word in
    :--log) expect=log ;;
    :--pid-file) expect=pids ;;
    :--root | :--log-format | :--bundle | :--console-socket | :--process) expect=other ;;
    :--*) ;;
    :*)
        [ -n "$command" ] || command=$word
        id=$word
        ;;
    *) expect= ;;
    esac
    [ -n "$command" ] || before="$before $word"
done

# What is not about a container of a pod goes its way. The root of a sandbox is a process like any other.
case $command in
create | start) grep -q '"io.kubernetes.cri.sandbox-id"' "$bundle/config.json" || command= ;;
*) command= ;;
esac
case $command in
create)
    rm -f "$bundle/started" "$bundle/failed"
    exec 3<&0
    # Paths of containerd and of ours have no blanks: `before` parts at them.
    # shellcheck disable=SC2086
    "$0" wait-for "$bundle" $before wait "$id" <&3 3<&- &
    waiter=$!
    exec 3<&-
    if ! runsc --network=host "$@"; then
        touch "$bundle/failed"
        exit 1
    fi
    printf '%s' "$waiter" >"$bundle/waiter" && printf '%s' "$waiter" >"$pids"
    ;;
start)
    waiter=$(cat "$bundle/waiter") || exit 1
    fds=/proc/$waiter/fd
    if ! runsc --network=host "$@" <"$fds/0" >>"$fds/1" 2>>"$fds/2"; then
        touch "$bundle/failed"
        exit 1
    fi
    touch "$bundle/started"
    ;;
*) exec runsc --network=host "$@" ;;
esac
