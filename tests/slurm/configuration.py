"""What the daemons of a cluster read: slurm.conf, gres.conf and slurmdbd.conf."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

NODES = ("n1", "n2", "n3")
CPUS, MEMORY, GPUS = 8, 4000, 8

SLURM = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
# Loopback only.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
# A requeued job waits for its old credential to expire, two minutes by default.
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.own
SlurmdPidFile={folder}/run/%n.own
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose

# A machine without cgroups plays larger nodes than it has cores for.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
# What takes more memory than it asked for is ended within a second, as cgroups would at once.
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=256

# As quick as Slurm can be: a test waits for every one of these.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmctldTimeout=10
SlurmdTimeout=10
# Pings are repeated for this long: a dead node is noticed after 15 to 18 s, not 30.
MessageTimeout=4
KillWait=5
MinJobAge={min_job_age}
JobRequeue=1
# A job that asks for more than its partition has is refused, not left waiting for ever.
EnforcePartLimits=ALL
ReturnToService=2
OverTimeLimit=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{private}{accounting}{gres}
{nodes}
PartitionName=DEFAULT Nodes=n[1-3] PriorityTier=5 PreemptMode=OFF MaxTime=INFINITE DefaultTime=60 State=UP
PartitionName=cpu Default=YES
PartitionName=gpu
PartitionName=short MaxTime=1 DefaultTime=1
# A GraceTime would end at slurmctld's next look at the time limits, which is every 30 s.
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=scavenge PriorityTier=1 PreemptMode=CANCEL GraceTime=0
PartitionName=high PriorityTier=10
"""

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
# Persistent connections take their munge socket from here, not from AuthInfo.
AccountingStoragePass={folder}/munge/socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
"""

SLURMDBD = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
CommunicationParameters=NoInAddrAny
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
PidFile={folder}/run/slurmdbd.own
LogFile={folder}/log/slurmdbd.log
DebugLevel=verbose
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=accounting
"""

GRES = """\
AutoDetect=off
Name=gpu File={folder}/gpus/gpu[0-{last}]
"""


def slurm_conf(
    folder: Path, user: str, ports: Sequence[int], *, dbd_port: int | None, gpus: bool, min_job_age: int, private: bool
) -> str:
    """slurm.conf; the first port is the controller's, the others are the nodes'. Without a dbd_port no accounting."""
    controller, *node_ports = ports
    host = socket.gethostname()
    gres = f" Gres=gpu:{GPUS}" if gpus else ""
    nodes = [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory={MEMORY}{gres}"
        for node, port in zip(NODES, node_ports, strict=True)
    ]
    return SLURM.format(
        host=host,
        port=controller,
        user=user,
        folder=folder,
        min_job_age=min_job_age,
        private="PrivateData=jobs\n" if private else "",
        accounting=ACCOUNTING.format(dbd_port=dbd_port, folder=folder) if dbd_port else "",
        gres="GresTypes=gpu\n" if gpus else "",
        nodes="\n".join(nodes),
    )


def slurmdbd_conf(folder: Path, user: str, port: int) -> str:
    """slurmdbd.conf. slurmdbd refuses one that others can read, for the password that there is elsewhere."""
    return SLURMDBD.format(dbd_port=port, user=user, folder=folder)


def gres_conf(folder: Path) -> str:
    """gres.conf: the pretend GPUs."""
    return GRES.format(folder=folder, last=GPUS - 1)
