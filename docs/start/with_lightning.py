"""Trains on pictures/train/CLASS/* and prints the accuracy on pictures/test/CLASS/*, with Lightning."""

import sys

import lightning
import timm
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

EPOCHS, BATCH, SIZE = 10, 32, 48
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Classifier(lightning.LightningModule):
    def __init__(self, classes: int, steps: int) -> None:
        super().__init__()
        self.model, self.steps = timm.create_model("resnet10t", num_classes=classes), steps

    def training_step(self, batch: tuple, number: int) -> torch.Tensor:
        images, labels = batch
        loss = cross_entropy(self.model(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def test_step(self, batch: tuple, number: int) -> None:
        images, labels = batch
        self.log("accuracy", (self.model(images).argmax(1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.001)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.001, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def loader(split: str, training: bool) -> DataLoader:
    steps = [v2.PILToTensor(), v2.Resize(SIZE), v2.CenterCrop(SIZE), v2.ToDtype(torch.float32, scale=True)]
    flip = [v2.RandomHorizontalFlip()] if training else []
    transform = v2.Compose([*steps, *flip, v2.Normalize(MEAN, STD)])
    dataset = ImageFolder(f"{sys.argv[1]}/{split}", transform)
    return DataLoader(dataset, BATCH, shuffle=training, drop_last=training)


lightning.seed_everything(0)
train, test = loader("train", True), loader("test", False)
model = Classifier(len(train.dataset.classes), EPOCHS * len(train))
trainer = lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", logger=False, log_every_n_steps=1)
trainer.fit(model, train)
trainer.test(model, test)
