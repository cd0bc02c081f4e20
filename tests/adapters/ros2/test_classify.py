"""Where a topic goes."""

from __future__ import annotations

import pytest

from robotrace.adapters.ros2 import TopicClass, classify_topic


@pytest.mark.parametrize(
    ("topic", "msgtype", "slot", "reason"),
    [
        ("/camera/image_raw", "sensor_msgs/msg/Image", "video", "msgtype"),
        ("/camera/image_raw/compressed", "sensor_msgs/msg/CompressedImage", "video", "msgtype"),
        ("/base/reference", "geometry_msgs/msg/Twist", "actions", "msgtype"),
        ("/base/reference", "geometry_msgs/msg/TwistStamped", "actions", "msgtype"),
        ("/wrench", "geometry_msgs/msg/Wrench", "actions", "msgtype"),
        ("/plan", "trajectory_msgs/msg/JointTrajectory", "actions", "msgtype"),
        ("/plan", "trajectory_msgs/msg/MultiDOFJointTrajectory", "actions", "msgtype"),
        ("/jog", "control_msgs/msg/JointJog", "actions", "msgtype"),
        ("/cmd_gripper", "std_msgs/msg/Float64", "actions", "topic-name"),
        ("/arm/CMD_vel", "my_msgs/msg/Velocity", "actions", "topic-name"),
        ("/arm/command", "std_msgs/msg/Float64MultiArray", "actions", "topic-name"),
        ("/arm/joint_command", "sensor_msgs/msg/JointState", "actions", "topic-name"),
        ("/forward_position_controller/commands", "std_msgs/msg/Float64MultiArray", "actions", "topic-name"),
        ("/command/status", "std_msgs/msg/String", "sensors", "default"),
        ("/joint_states", "sensor_msgs/msg/JointState", "sensors", "default"),
        ("/scan", "sensor_msgs/msg/LaserScan", "sensors", "default"),
        ("/image_info", "my_msgs/msg/ImageInfo", "sensors", "default"),
    ],
)
def test_topics_go_where_their_type_or_their_name_says(topic: str, msgtype: str, slot: str, reason: str) -> None:
    assert classify_topic(topic, msgtype) == TopicClass(topic, msgtype, slot, reason)  # type: ignore[arg-type]
