"""Speed of our ResNet-18 training loop against the loop of PyTorch's ImageNet example: `make bench`.

Both train torchvision's ResNet-18 at 64 px on the same pictures (a class: one of the world's 15 places), as many epochs, the
same batch and peak rate, three seeds. The example's loop: ImageFolder, RandomResizedCrop, flip, normalise, SGD, step decay,
here without workers, so that all its work is this process's. Ours: pixels mapped from disk, crops of a whole batch at once,
channels last, the first three quarters of the steps at 32 px. CPU seconds.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18

from rldf_utils import classify, generate, imagenet, results
from rldf_utils.tiny import world

EPOCHS, BATCH, RATE, SEEDS, EACH = 6, 32, 0.05, 3, 60
NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def paint(folder: Path, each: int, first: int) -> Path:
    rng = np.random.default_rng(first)
    for k, scene in enumerate(world.SCENES):
        for i in range(each):
            words = {axis: words[rng.integers(len(words))] for axis, words in imagenet.FULL.axes.items()} | {"Scene": scene}
            picture = world.render(words, imagenet.SEEDS + first + i)
            results.write(folder / f"{k:02d}" / f"{i:04d}.png", generate.png(picture))
    return folder


def example(train: Path, val: Path, seed: int) -> tuple[float, float]:
    """(CPU seconds, accuracy) of the example's loop."""
    torch.manual_seed(seed)
    crop = [transforms.RandomResizedCrop(64), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALIZE]
    loader = torch.utils.data.DataLoader(ImageFolder(train, transforms.Compose(crop)), batch_size=BATCH, shuffle=True)
    model, criterion = resnet18(num_classes=len(world.SCENES)), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=max(1, EPOCHS // 3), gamma=0.1)
    begun = time.process_time()
    for _ in range(EPOCHS):
        model.train()
        for images, target in loader:
            loss = criterion(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
    seconds = time.process_time() - begun
    test = torch.utils.data.DataLoader(ImageFolder(val, transforms.Compose(crop[2:])), batch_size=256)
    model.eval()
    with torch.inference_mode():
        hits = sum(int((model(images).argmax(1) == target).sum()) for images, target in test)
    return seconds, hits / len(test.dataset)


def ours(train: Path, val: Path, seed: int) -> tuple[float, float]:
    recipe = classify.Recipe("imagenet", 64, EPOCHS, early=32, batch=BATCH, rate=RATE)
    begun = time.process_time()
    pixels, labels, names = imagenet.arrays(train, 64)
    model = classify.train(pixels, labels, len(names), recipe, seed)
    seconds = time.process_time() - begun
    pixels, labels, _ = imagenet.arrays(val, 64)
    return seconds, classify.accuracy(classify.predict(model, pixels, 64), labels)


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        imagenet.CACHE = Path(folder) / "cache" / "images"  # nothing is read ahead
        train, val = paint(Path(folder) / "train", EACH, 0), paint(Path(folder) / "val", EACH, 10**6)
        for seed in range(SEEDS):
            for name, loop in {"the example's loop": example, "ours": ours}.items():
                seconds, accuracy = loop(train, val, seed)
                rate = EPOCHS * EACH * len(world.SCENES) / seconds
                rows.append({"loop": name, "seed": seed, "cpu_seconds": seconds, "images_per_cpu_second": rate, "accuracy": 100 * accuracy})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    summary = table.groupby("loop", sort=False)[["images_per_cpu_second", "accuracy"]].mean()
    summary["times_the_example"] = summary["images_per_cpu_second"] / summary["images_per_cpu_second"].iloc[0]
    results.write(results.RESULTS / "bench" / "classify.csv", table.to_csv(index=False))
    text = f"{__doc__}\n{summary.to_markdown(floatfmt='.3g')}\n\n{results.provenance()['machine']}\n"
    results.write(results.RESULTS / "bench" / "classify.md", text)
    print(text)


if __name__ == "__main__":
    main()
