"""The backbones: VGG-Face and a face ResNet."""
