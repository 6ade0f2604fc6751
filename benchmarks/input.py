"""From JPEG files to augmented batches, ours and torchvision's

Compared, in batches of 16 photos of 96 px at equal augmentation: our `photo_cache` and `Batches`;
and torchvision's `OxfordIIITPet` with its v2 transforms in a torch `DataLoader` of two workers that
stay alive. First epoch: ours decodes and writes the cache, theirs starts its workers; later epochs
find both as the first one left them. Then the same `Trainer` and ResNet-101 fed by each: how much
of its time it waits.
Left out: reading from a cold disk (a first round has read every file), validation photos. The
augmentations have the same ranges but not the same pixels: ours turns what was cached at 120 px,
and reflects at the edges where torchvision's leaves black.
"""
import os, tempfile
from itertools import count
from functools import partial
from pathlib import Path
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import OxfordIIITPet
from torchvision.transforms import v2
from resnet_pets.batches import Batches, cache_size, photo_cache
from resnet_pets.config import Augmentation, Config
from resnet_pets.core import pick_precision
from resnet_pets.training import Trainer, build_model
from common import compare, find_pets, parser, report, spread, take_turns, timed

PX,BATCH,MEAN,STD = 96,16,[0.5]*3,[0.25]*3
OURS,THEIRS = 'ours', 'torchvision, 2 workers'
AUGMENT = Augmentation()

def official_folder(pets, root):
    "A folder that `OxfordIIITPet` accepts: its list names only the photos that are there."
    base = root/'oxford-iiit-pet'
    (base/'annotations').mkdir(parents=True)
    os.symlink(pets[0].path.parent.resolve(), base/'images')
    lines = [f'{p.name} 1 {p.species+1} 1\n' for p in pets]
    (base/'annotations/trainval.txt').write_text(''.join(lines))
    return root

def our_batches(pets, folder, device):
    cache = photo_cache(pets, cache_size(PX), folder=folder)
    return Batches(cache, PX, MEAN, STD, BATCH, AUGMENT, device=device, drop_last=True)

def their_batches(root):
    a = AUGMENT
    transform = v2.Compose([v2.RandomResizedCrop(PX, a.crop_scale, a.crop_ratio),
        v2.RandomHorizontalFlip(a.flip), v2.RandomRotation(a.rotate, v2.InterpolationMode.BILINEAR),
        v2.ColorJitter(a.brightness, a.contrast, a.saturation), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD),
        v2.RandomErasing(a.erase, (0.02, 0.2))])
    data = OxfordIIITPet(root, target_types='binary-category', transform=transform)
    how = dict(shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)
    return DataLoader(data, BATCH, **how)

def our_epochs(pets, device): # seconds of the first and of the second
    with tempfile.TemporaryDirectory() as folder:
        def first():
            batches = our_batches(pets, folder, device)
            for xb,idx in batches.epoch(0): pass
            return batches
        seconds,batches = timed(first, device)
        def second():
            for xb,idx in batches.epoch(1): pass
        return seconds, timed(second, device)[0]

def their_epochs(root, device): # seconds of the first and of the second
    def first():
        loader = their_batches(root)
        for xb,y in loader: xb.to(device)
        return loader
    seconds,loader = timed(first, device)
    def second():
        for xb,y in loader: xb.to(device)
    return seconds, timed(second, device)[0]

class Loaded:
    "The batches of a `DataLoader`, as `Trainer` takes them."
    def __init__(self, loader, device):
        self.loader,self.device,self.batch_size = loader,device,BATCH
        self.stream = (xb for _ in count() for xb,y in loader)
    def __len__(self): return len(self.loader)
    def order(self, epoch, step): return torch.arange(BATCH)
    def batch(self, epoch, step):
        xb = next(self.stream).to(self.device, memory_format=torch.channels_last)
        return xb, self.order(epoch, step)

def training(batches, n, precision, layers, steps):
    "A turn of training: seconds of `steps` steps, and how many of them it waited for a batch."
    config = Config(training=dict(epochs=1000), model=dict(layers=layers))
    waited,make = [],batches.batch
    def batch(epoch, step):
        seconds,result = timed(lambda: make(epoch, step), batches.device)
        waited.append(seconds)
        return result
    batches.batch = batch
    trainer = Trainer(build_model(config), batches, torch.arange(n)%2, config, precision)
    def turn():
        for _ in range(steps//2): trainer.train_step()   # uses up what the workers had ready
        waited.clear()
        seconds,_ = timed(lambda: [trainer.train_step() for _ in range(steps)], batches.device)
        return seconds, sum(waited)
    return turn

def main():
    p = parser(__doc__)
    p.add_argument('--photos', type=Path, help='a folder in the official layout '
        '(default: 400 drawn pets, about as large as the real photos)')
    args = p.parse_args()
    device,layers,rounds = args.device,[3,4,23,3],args.rounds
    n,size,steps = 400,375,12
    if args.quick: layers,rounds,n,size,steps = [1,1,1,1],2,48,128,2
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pets = [p for p in find_pets(args.photos, folder, n, size) if p.path.suffix == '.jpg']
        root = official_folder(pets, folder/'official')
        sides = {OURS: partial(our_epochs, pets, device),
            THEIRS: partial(their_epochs, root, device)}
        epochs = take_turns(sides, rounds)
        precision = pick_precision('auto', device)
        sources = {OURS: our_batches(pets, folder, device),
            THEIRS: Loaded(their_batches(root), device)}
        fed = {side: training(b, len(pets), precision, layers, steps) for side,b in sources.items()}
        trained = take_turns(fed, rounds)
    def column(results, i): return {side: [r[i] for r in found] for side,found in results.items()}
    case,photos = f'{len(pets)} photos', dict.fromkeys(sides, len(pets)//BATCH*BATCH)
    rows = [compare(f'{case}, later epochs', OURS, THEIRS, column(epochs, 1), photos, 3.0),
        compare(f'{case}, first epoch', OURS, THEIRS, column(epochs, 0), photos, 1.0),
        compare(f'training fed by it, {precision}', OURS, THEIRS, column(trained, 0),
            dict.fromkeys(sides, steps*BATCH))]
    waiting = []
    for side,results in trained.items():
        shares = spread([100*waited/total for total,waited in results])
        waiting.append(dict(side=side, **{f'{k}, % of a step': v for k,v in shares.items()},
            aim=10.0 if side == OURS else None))
    report(args, __doc__, rows, waiting_for_input=waiting)

if __name__ == '__main__': main()
