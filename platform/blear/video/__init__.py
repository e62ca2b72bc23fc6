"""Public video reader: frames with their numbers, time stamps and damage marks, decoded by PyAV (FFmpeg)."""

from blear.video.encoders import open_encoder
from blear.video.frames import VideoFrame
from blear.video.probe import VideoInfo, probe_video
from blear.video.reader import read_video

__all__ = ["VideoFrame", "VideoInfo", "open_encoder", "probe_video", "read_video"]
