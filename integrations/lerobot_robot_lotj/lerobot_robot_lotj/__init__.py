"""lotj for LeRobot. Importing it, which LeRobot does by itself, registers robot `lotj_bench`, policy and env `lotj`."""

from lerobot_robot_lotj.arm import LeRobotArm
from lerobot_robot_lotj.bench import LotjBench, LotjBenchConfig
from lerobot_robot_lotj.configuration_lotj import LotjConfig
from lerobot_robot_lotj.env import LotjEnv, LotjEnvConfig

__all__ = ["LeRobotArm", "LotjBench", "LotjBenchConfig", "LotjConfig", "LotjEnv", "LotjEnvConfig"]
