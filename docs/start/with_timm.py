"""Trains on pictures/train/CLASS/* and prints the accuracy on pictures/test/CLASS/*, with timm."""

import sys

import timm
import torch
from timm.data import ImageDataset, create_loader
from torch.nn.functional import cross_entropy

EPOCHS, BATCH, SIZE = 10, 32, 48


def loader(split: str, training: bool) -> object:
    options = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "hflip": 0.5, "color_jitter": None, "re_prob": 0.0}
    return create_loader(
        ImageDataset(f"{sys.argv[1]}/{split}"),
        input_size=(3, SIZE, SIZE),
        batch_size=BATCH,
        is_training=training,
        use_prefetcher=False,
        num_workers=0,
        crop_pct=1.0,
        persistent_workers=False,
        device=torch.device("cpu"),
        **options,
    )


torch.manual_seed(0)
train, test = loader("train", True), loader("test", False)
model = timm.create_model("resnet10t", num_classes=len(train.dataset.reader.class_to_idx))
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.001, total_steps=EPOCHS * len(train))
model.train()
for epoch in range(EPOCHS):
    for images, labels in train:
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}")
model.eval()
right = 0
with torch.no_grad():
    for images, labels in test:
        right += (model(images).argmax(1) == labels).sum().item()
print(f"accuracy {right / len(test.dataset):.3f}")
torch.save(model.state_dict(), "timm.pth")
