#!/usr/bin/env bash
# A Slurm on this machine for the tests: munged, slurmctld, and a slurmd for each of several nodes.
#
#   site.sh install              install Slurm with apt-get (as root, or by sudo)
#   site.sh missing              print what is not installed; exit code 1 if anything is missing
#   site.sh start                start the site; return when all nodes are idle
#   site.sh stop                 cancel the jobs and end every process of the site
#   site.sh run CMD...           start a site, run CMD in it, stop the site; exit with CMD's code
#   site.sh env                  print what a shell needs: eval "$(site.sh env)"
#   site.sh crash NODE [now]     kill a node with its jobs, as a power cut does; Slurm notices it
#                                after SlurmdTimeout, or at once with `now`
#   site.sh boot NODE            start a crashed node again
#   site.sh controller stop|start     make an outage of slurmctld, and end it
#
# SITE is the folder of the site (default /tmp/slurm-site-UID); several sites may run at once.
# SITE_NODES (3), SITE_CPUS (4 of a node) and SITE_REQUEUE_S (120, the site's delay before a
# requeued job may start again; at least 5) count at the start. The site stops when the process
# SITE_OWNER ends, even by SIGKILL; the owner of a site of `run` is that script. Only SLURM_CONF
# names the site: nothing is written to /etc/slurm. An ordinary user can run a site of their own.
#
# Partitions: batch (default), urgent (its jobs preempt those of batch, which are requeued 5 s after
# a SIGTERM) and short (2 minutes at most). Each node has two GPUs, which are only names.
# Slurm looks at time limits each 30 s; SIGTERM is followed by SIGKILL after 5 s. log/jobs.txt has
# how each job ended.
set -euo pipefail

site=${SITE:-/tmp/slurm-site-$(id -u)}
host=$(hostname -s)
packages="slurmctld slurmd slurm-client munge procps"
export SLURM_CONF=$site/slurm.conf PATH=$PATH:/usr/sbin:/sbin
unset SLURM_JOB_ID SLURM_JOBID

say() { echo "site.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

missing() {
    local tool
    for tool in munged slurmctld slurmd sbatch squeue scancel scontrol srun pgrep; do
        command -v "$tool" >/dev/null || printf ' %s' "$tool"
    done
}

install_packages() {
    [ -n "$(missing)" ] || return 0
    local get=(apt-get --yes --quiet=2 -o DPkg::Lock::Timeout=300)
    [ "$(id -u)" = 0 ] || get=(sudo --non-interactive "${get[@]}")
    export DEBIAN_FRONTEND=noninteractive
    exec 9>"${TMPDIR:-/tmp}/tests-apt-$(id -u).lock" && flock 9 # Prometheus may be installed, too
    # shellcheck disable=SC2086
    "${get[@]}" install --no-install-recommends $packages >&2 ||
        { "${get[@]}" update && "${get[@]}" install --no-install-recommends $packages; } >&2
    [ -z "$(missing)" ] || fail "still missing:$(missing)"
}

# A daemon is known by its pid and the time of its start, as pids are given out again.
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'; }
pid_of() { # NAME: prints the pid of a daemon that runs
    local pid at
    read -r pid at 2>/dev/null <"$site/run/$1" || return 1
    [ -n "$at" ] && [ "$(started_at "$pid")" = "$at" ] && echo "$pid"
}
launch() { # NAME CMD...
    local name=$1
    shift
    pid_of "$name" >/dev/null && return
    setsid "$@" >>"$site/log/$name.out" 2>&1 </dev/null &
    echo "$! $(started_at $!)" >"$site/run/$name"
}
end() { # NAME...: SIGTERM, and 2 s later SIGKILL
    local name pid left
    for name in "$@"; do ! pid=$(pid_of "$name") || kill "$pid" || true; done
    for _ in $(seq 20); do
        left=0
        for name in "$@"; do ! pid_of "$name" >/dev/null || left=1; done
        [ $left = 0 ] && break
        sleep 0.1
    done
    for name in "$@"; do
        ! pid=$(pid_of "$name") || kill -KILL "$pid" || true
        rm -f "$site/run/$name"
    done
}

tree() { # PID...: prints the processes and all their descendants
    local pid
    for pid in "$@"; do
        echo "$pid"
        # shellcheck disable=SC2046
        tree $(cat "/proc/$pid/task/"*/children 2>/dev/null)
    done
}
steps() { # [NODE]: prints the site's slurmstepds, which a slurmd names by its node's spool folder
    local sockets pid
    sockets=$(awk -v at="$site/spool.${1:-}" 'index($8, at) == 1 {print "socket:[" $7 "]"}' \
        /proc/net/unix)
    for pid in $(pgrep -x slurmstepd); do
        ! find "/proc/$pid/fd" -printf '%l\n' 2>/dev/null | grep -qxF "${sockets:-none}" ||
            echo "$pid"
    done
}

free_ports() { # the first of 100, below those of `free_port` and of outgoing connections
    local base offset try
    for try in $(seq 100); do
        base=$((10000 + 100 * (($$ + try) % 100))) # sites that start at once begin at different ones
        for offset in 0 $(seq 10 20); do
            ! (exec 3<>"/dev/tcp/127.0.0.1/$((base + offset))") 2>/dev/null || continue 2
        done
        echo "$base"
        return
    done
    fail "no free ports"
}

configure() {
    local user port nodes=${SITE_NODES:-3} cpus=${SITE_CPUS:-4}
    user=$(id -un)
    port=$(free_ports)
    mkdir -p "$site/state" "$site/run" "$site/log"
    chmod 755 "$site"
    (umask 077 && head -c 1024 /dev/urandom >"$site/munge.key")
    printf 'Name=gpu File=%s\n' /dev/null /dev/zero >"$site/gres.conf"
    seq -f 'n%g' "$nodes" >"$site/nodes"
    cat >"$SLURM_CONF" <<CONF
ClusterName=site
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SrunPortRange=$((port + 40))-$((port + 99))
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$site/munge.sock,cred_expire=${SITE_REQUEUE_S:-120}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$site/state
SlurmdSpoolDir=$site/spool.%n
SlurmctldPidFile=$site/slurmctld.pid
SlurmdPidFile=$site/slurmd.%n.pid
SlurmctldLogFile=$site/log/slurmctld.log
SlurmdLogFile=$site/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobCompType=jobcomp/filetxt
JobCompLoc=$site/log/jobs.txt
MailProg=/bin/true
ReturnToService=2
SlurmdTimeout=10
KillWait=5
OverTimeLimit=0
MinJobAge=300
GresTypes=gpu
NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 10))-$((port + 9 + nodes))] CPUs=$cpus RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=DEFAULT Nodes=ALL State=UP DefaultTime=10 PreemptMode=REQUEUE
PartitionName=batch Default=YES MaxTime=7-0 PriorityTier=1 GraceTime=5
PartitionName=short DefaultTime=2 MaxTime=2 PriorityTier=1
PartitionName=urgent MaxTime=1-0 PriorityTier=10 PreemptMode=OFF
CONF
}

nodes() { cat "$site/nodes" 2>/dev/null || fail "no site at $site"; }
node() { nodes | grep -qxF -- "$1" && echo "$1" || fail "want one of $(nodes | xargs), got $1"; }
start_node() { launch "$1" slurmd -D -N "$1" -f "$SLURM_CONF"; }
start_controller() { launch slurmctld slurmctld -D -i -f "$SLURM_CONF"; }
start() {
    [ -z "$(missing)" ] || fail "missing:$(missing); as root: $0 install"
    [ ! -e "$site/nodes" ] || fail "there is a site at $site already"
    configure
    if [ -n "${SITE_OWNER:-}" ]; then
        env -u PYTEST_TETHER setsid "$0" guard "$SITE_OWNER" </dev/null >/dev/null 2>&1 &
    fi
    launch munged munged -F --force --num-threads=2 --socket="$site/munge.sock" \
        --key-file="$site/munge.key" --pid-file="$site/munged.pid" \
        --log-file="$site/log/munged.log" --seed-file="$site/munge.seed"
    until [ -S "$site/munge.sock" ]; do
        pid_of munged >/dev/null || { tail -3 "$site/log/munged.out" >&2; fail "munged ended"; }
        sleep 0.05
    done
    start_controller
    local name
    for name in $(nodes); do start_node "$name"; done
    for _ in $(seq 300); do
        [ "$(timeout 5 sinfo -hN -p batch -t idle -o %N 2>/dev/null)" != "$(nodes)" ] || return 0
        for name in munged slurmctld $(nodes); do
            pid_of "$name" >/dev/null ||
                { tail -3 "$site/log/$name.out" >&2; fail "$name ended: $site/log"; }
        done
        sleep 0.2
    done
    fail "the nodes are not idle after 60 s: $site/log"
}

stop() {
    [ -e "$site/nodes" ] || return 0
    local victims
    if pid_of slurmctld >/dev/null; then
        timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
        for _ in $(seq 40); do # KillWait is 5 s
            [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
            sleep 0.2
        done
    fi
    mapfile -t victims < <(tree $(steps))
    # shellcheck disable=SC2046
    end $(nodes)
    [ ${#victims[@]} = 0 ] || kill -KILL "${victims[@]}" 2>/dev/null || true
    end slurmctld munged
    rm -rf "$site"/{state,run,spool.*,munge.*,nodes,slurmctld.pid}
}

run() { # CMD...
    local code=0
    trap stop EXIT
    SITE_OWNER=$$ start
    setpriv --pdeathsig TERM "$@" || code=$?
    exit $code
}

guard() { # PID: stop the site when the process ends; slurmstepds do not inherit a tether
    tail --pid="$1" --follow /dev/null
    stop
}

crash() { # NODE
    local pid victims
    pid=$(pid_of "$1") || fail "$1 does not run"
    # the steps first: a slurmd that sees its steps die tells the controller
    kill -STOP "$pid"
    # shellcheck disable=SC2046
    mapfile -t victims < <(tree $(steps "$1/"))
    kill -KILL "$pid" ${victims[@]+"${victims[@]}"} 2>/dev/null || true
    rm -f "$site/run/$1"
}

case "${1:-}" in
install) install_packages ;;
missing) [ -z "$(missing)" ] || { missing; exit 1; } ;;
start) start ;;
stop) stop ;;
guard) guard "$2" ;;
run)
    shift
    [ $# -gt 0 ] || fail "want a command to run"
    run "$@"
    ;;
env) printf 'export SLURM_CONF=%q PATH="$PATH:/usr/sbin"\n' "$SLURM_CONF" ;;
crash)
    crash "$(node "${2:-}")"
    [ "${3:-}" != now ] || scontrol update nodename="$2" state=down reason="test: crashed"
    ;;
boot)
    start_node "$(node "${2:-}")"
    # one that Slurm was told to be down comes back only by an order
    timeout 5 scontrol update nodename="$2" state=resume 2>/dev/null || true
    ;;
controller)
    nodes >/dev/null
    case "${2:-}" in
    stop) end slurmctld ;;
    start) start_controller ;;
    *) fail "want controller stop or controller start" ;;
    esac
    ;;
*)
    sed -n '2,/^set -euo/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
