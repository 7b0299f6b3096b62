"""One test for each belief about NumPy, MuJoCo and Gymnasium that the environments rest on."""

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch

import hyperpolicy as hp
from hyperpolicy.envs import FAMILIES
from hyperpolicy.envs.mujoco import compile_model

MUJOCO = [FAMILIES[name] for name in ("cheetah-vel", "ant-dir", "ant-dir-endless")]
CHEETAH, ANT = (compile_model(hp.family(name).mjcf) for name in ("cheetah-vel", "ant-dir"))


@pytest.mark.parametrize("family", MUJOCO, ids=lambda f: f.name)
def test_model_and_family_agree(family):
    model = compile_model(family.mjcf)
    assert model.nu == family.action_size
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-1, 1]] * model.nu)
    assert model.opt.timestep * family.frame_skip == pytest.approx(family.dt_s)
    assert Path(gymnasium.__file__).parent in family.mjcf.parents


def test_cheetah_is_the_published_model():
    assert CHEETAH.body("torso").id == 1
    assert CHEETAH.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    assert CHEETAH.body_mass.sum() == pytest.approx(14.0)
    np.testing.assert_array_equal(CHEETAH.actuator_gear[:, 0], [120, 90, 60, 120, 60, 30])
    np.testing.assert_array_equal(CHEETAH.qpos0, 0)


def test_ant_is_the_published_model():
    assert ANT.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert ANT.qpos0[2] == 0.75  # not the XML's init_qpos, 0.55
    np.testing.assert_array_equal(ANT.actuator_gear[:, 0], 150)
    first = ANT.actuator(0).trnid[0]
    assert ANT.joint(first).name == "hip_4"  # actions are not in the order of joints


def test_step_leaves_positions_of_bodies_one_substep_old():
    data = mujoco.MjData(CHEETAH)
    data.qvel[0] = 1.0
    mujoco.mj_step(CHEETAH, data, nstep=4)
    fourth = data.qpos[0]
    mujoco.mj_step(CHEETAH, data)
    assert data.xpos[1, 0] == fourth != data.qpos[0]


def test_step_leaves_contact_forces_unfilled():
    """So the published contact cost of Ant-Dir is zero."""
    data = mujoco.MjData(ANT)
    mujoco.mj_step(ANT, data, nstep=200)
    assert data.ncon > 0
    np.testing.assert_array_equal(data.cfrc_ext, 0)


def test_bound_views_stay_live_through_reset():
    batch = Batch(CHEETAH, nsim=2, nthread=1)
    view = batch.bind("qpos")
    batch.step(nstep=5)
    other = view[0].copy()
    assert view[1, 1] != 0
    batch.reset(np.array([1]), stage=mujoco.mjtStage.mjSTAGE_NONE.value)
    np.testing.assert_array_equal(view[1], CHEETAH.qpos0)
    np.testing.assert_array_equal(view[0], other)
    assert batch.bind("qpos") is view or np.shares_memory(batch.bind("qpos"), view)


def test_get_data_is_a_copy():
    batch = Batch(CHEETAH, nsim=1, nthread=1)
    data = batch.get_data(0)
    batch.step(nstep=5)
    np.testing.assert_array_equal(data.qpos, CHEETAH.qpos0)


def test_numpy_wraps_into_the_half_open_turn():
    turn = 2 * np.pi
    np.testing.assert_array_equal(np.mod([turn, -turn, 0.0], turn), 0.0)
    assert np.mod(-0.5, turn) == turn - 0.5


def test_gymnasium_defaults_to_another_autoreset():
    """So ours must be stated."""
    envs = gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync")
    assert envs.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP
