"""Which generated configuration is in use, and which is a thing of the past."""

from __future__ import annotations

import socket
from pathlib import Path

from obelisk_ops.supervise.places import Places, config_in_use


def test_the_configuration_in_use_is_that_of_a_supervisor_that_runs(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    text = f"dbs:\n- path: {tmp_path}/b.db\n- path: {database}\n"
    former = tmp_path / "litestream" / "former.yml"
    former.parent.mkdir()
    former.write_text(text)

    places = Places(tmp_path)
    assert not former.exists()
    (places.configs / "_shared-1.yml").write_text(text)
    assert config_in_use(tmp_path, database) is None, "nobody listens"
    with socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.bind(str(places.control))
        supervisor.listen()
        assert config_in_use(tmp_path, database) == text
        assert config_in_use(tmp_path, tmp_path / "c.db") is None
    places.release()
