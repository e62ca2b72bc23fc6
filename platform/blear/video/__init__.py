"""Public video reader: frames with their numbers, time stamps and damage marks, decoded by PyAV (FFmpeg)."""

from blear.video.frames import VideoFrame
from blear.video.probe import VideoInfo, probe_video
from blear.video.reader import read_video
from blear.video.scheduling import keep_scheduling

__all__ = ["VideoFrame", "VideoInfo", "keep_scheduling", "probe_video", "read_video"]
