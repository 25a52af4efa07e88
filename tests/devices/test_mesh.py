"""A batch and a field on eight devices and in two processes: as on one, and what travels."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from as_slurm import run_together

import impindiff as ipd

SCRIPT = Path(__file__).with_name("two_fields.py")
LAYER = 4 * 16  # cells at the face between two devices, of all samples


def found(tmp_path, axes, *options, processes=1, devices=8):
    out = tmp_path / "found.json"
    command = [str(SCRIPT), str(out), axes, *options]
    for ended in run_together(processes, command, DEVICES=str(devices)):
        assert ended.returncode == 0, ended.stderr
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return found(tmp_path_factory.mktemp("alone"), "batch=1", devices=1)


def same(many, one):
    assert many["loss"] == pytest.approx(one["loss"], rel=1e-10)
    difference = np.abs(np.subtract(many["gradient"], one["gradient"])).max()
    assert difference < 1e-10 * np.abs(one["gradient"]).max()


@pytest.mark.few(1)
@pytest.mark.parametrize("axes", ["batch=4", "x=8", "batch=2,x=2,y=2"])
def test_batch_domain_and_both(tmp_path, alone, axes):
    many = found(tmp_path, axes)
    assert many["devices"] == 8
    same(many, alone)
    kinds = {kind for kind, _, _ in many["collectives"]}
    assert kinds <= {"all-reduce", "collective-permute"}
    moved = [entries for kind, entries, _ in many["collectives"] if kind == "collective-permute"]
    # layers of cells, and no more
    assert max(moved, default=0) <= LAYER
    assert bool(moved) == (axes != "batch=4")


def moves_layers_only(many):
    for kind, entries, _ in many["collectives"]:
        # of coarse grids with fewer cells than devices, whole but tiny ones may travel
        assert entries <= LAYER if kind == "collective-permute" else True
        assert kind in ("all-reduce", "collective-permute") or entries <= 8


@pytest.mark.slow
def test_multigrid_moves_layers_only(tmp_path, alone):
    many = found(tmp_path, "batch=2,x=2,y=2", "multigrid")
    same(many, alone)
    moves_layers_only(many)


@pytest.mark.slow
def test_volumes_and_areas_travel_with_the_cells(tmp_path):
    one = found(tmp_path, "batch=1", "multigrid", "tube", devices=1)
    many = found(tmp_path, "x=2,y=2", "multigrid", "tube", devices=4)
    same(many, one)


@pytest.mark.slow
def test_the_cells_of_a_domain_are_shared_out(tmp_path):
    one = found(tmp_path, "batch=1", "multigrid", "hole", devices=1)
    many = found(tmp_path, "x=2,y=2", "multigrid", "hole", devices=4)
    same(many, one)
    moves_layers_only(many)


@pytest.mark.slow
def test_two_processes_read_their_part_and_agree(tmp_path, alone):
    many = found(tmp_path, "batch=2,x=2", processes=2, devices=2)
    assert (many["processes"], many["devices"]) == (2, 4)
    assert many["read"] == 0.5
    same(many, alone)


def test_one_device_in_this_process():
    grid = ipd.Grid((0, 0), (1, 1), (6, 4))
    mesh = ipd.Mesh()
    tree = mesh.place({"u": np.ones((3, 6, 4)), "name": "c", "k": np.ones(2)}, grid)
    assert tree["name"] == "c"
    assert tree["u"].sharding.spec == jax.sharding.PartitionSpec("batch", "x", "y")
    assert tree["k"].sharding.is_fully_replicated
    with mesh:
        again = jax.jit(lambda u: mesh.place(u, grid) + 1)(jnp.ones((6, 4)))
    assert float(again.sum()) == 48
    assert jax.sharding.get_abstract_mesh().empty
    assert repr(mesh) == "Mesh()"


def test_what_cannot_be_shared_out_is_refused():
    with pytest.raises(ipd.InputError, match=r"Mesh\(batch=64\) needs 64 devices, there are"):
        ipd.Mesh(batch=64)
    with pytest.raises(ipd.InputError, match=r"Mesh\(x=0\) needs 0 devices"):
        ipd.Mesh(x=0)


def test_collectives_are_read_from_the_program():
    class Program:
        def as_text(self):
            return (
                "%a = (f64[4,2]{1,0}, f64[]) all-reduce-start(%x), channel_id=1\n"
                "%b = f32[3]{0} collective-permute(%y)\n%c = f32[3]{0} collective-permute(%z)\n"
            )

    assert ipd.collectives(Program()) == [("all-reduce", 8, 1), ("collective-permute", 3, 2)]
