"""Other users of the machine: what listens for our workers takes nothing from anybody else."""

import socket
import ssl

import pytest

from greenprep.engine.choose import LOCAL_DASK, engine
from greenprep.engine.dask_engine import DaskEngine


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_scheduler_of_a_local_run_talks_to_nobody_without_this_runs_certificate():
    from distributed import Client
    from distributed.security import Security

    with engine(1, LOCAL_DASK) as run:
        assert isinstance(run, DaskEngine)
        assert [answer for _, answer in run.run(abs, [-3])] == [3]
        client = run._client
        addresses = [client.scheduler.address, *client.scheduler_info()["workers"], client.cluster.workers[0].address]
        for address in addresses:
            scheme, _, at = address.partition("://")
            host, port = at.rsplit(":", 1)
            assert (scheme, host) == ("tls", "127.0.0.1")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with (
                pytest.raises((ssl.SSLError, ConnectionError, TimeoutError)),
                socket.create_connection((host, int(port)), timeout=5) as plain,
                context.wrap_socket(plain) as connection,
            ):
                connection.sendall(b"x" * 64)
                if not connection.recv(1):
                    raise ConnectionError("closed")
                raise AssertionError("it answered whoever asked")
        with pytest.raises(OSError):
            Client(client.scheduler.address, security=Security.temporary(), timeout="2s")
