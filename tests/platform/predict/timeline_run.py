"""The job and the video of the prediction tests."""

FPS, FRAMES, SIDE = 20, 13, 96
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
JOB = """
name: small
data:
  faces:
    use: faces/procedural
    size: 32
    frames: 4
    targets: [emotion, valence]
    per_subject: 4
    subjects: {train: 4, dev: 1}
stages:
  values:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.05}
    head: {use: vlqr/valence}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 4
    steps: 1
  pairs:
    data: faces
    frames: {take: 2}
    backbone: {use: vtt/resnet18, width: 0.125}
    head: {use: vtt/two_part}
    optimizer: {use: sgd, lr: 0.01}
    batch_size: 4
    steps: 1
  clips:
    data: faces
    backbone: {use: vtt/resnet18, width: 0.125, shift: causal_stage}
    head: {use: vtt/two_part}
    optimizer: {use: adamw, lr: 0.001}
    batch_size: 8
    steps: 4
"""
