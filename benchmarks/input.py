"""From JPEG files to augmented batches, ours and torchvision's

Compared, in batches of 16 photos of 96 px at equal augmentation: our `photo_cache` and `Batches`; and torchvision's `OxfordIIITPet` with its
v2 transforms in a torch `DataLoader` of two workers that stay alive. First epoch: ours decodes and writes the cache, theirs starts
its workers; later epochs find both as the first one left them. Then the same `Trainer` and ResNet-101 fed by each: how much of its time it waits.
Left out: reading from a cold disk (a first round has read every file), validation photos. The augmentations have the same ranges but not
the same pixels: ours turns what was cached at 120 px, and reflects at the edges where torchvision's leaves black.
"""
import os, tempfile
from itertools import count
from pathlib import Path
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import OxfordIIITPet
from resnet_pets.batches import Augment, Batches, cache_size, photo_cache, plain_transform
from resnet_pets.checkpoints import build_model
from resnet_pets.config import Config
from resnet_pets.core import pick_precision
from resnet_pets.training import Trainer
from common import compare, find_pets, parser, report, spread, take_turns, timed

PX,BATCH,MEAN,STD = 96,16,[0.5]*3,[0.25]*3
OURS,THEIRS = 'ours', 'torchvision, 2 workers'

def official_folder(pets, root):
    "A folder that `OxfordIIITPet` accepts: its list names only the photos that are there."
    base = root/'oxford-iiit-pet'
    (base/'annotations').mkdir(parents=True)
    os.symlink(pets[0].path.parent.resolve(), base/'images')
    (base/'annotations/trainval.txt').write_text(''.join(f'{p.name} 1 {p.species+1} 1\n' for p in pets))
    return root

def our_batches(pets, folder, device): return Batches(photo_cache(pets, cache_size(PX), folder), PX, MEAN, STD, BATCH, Augment(), device=device, drop_last=True)

def their_batches(root):
    data = OxfordIIITPet(root, target_types='binary-category', transform=plain_transform(PX, MEAN, STD, Augment()))
    return DataLoader(data, BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)

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
    def batch(self, epoch, step): return next(self.stream).to(self.device, memory_format=torch.channels_last), torch.arange(BATCH)

def training(batches, n, precision, blocks, steps):
    "A turn of training: seconds of `steps` steps, and how many of them went into waiting for a batch."
    config = Config(training=dict(epochs=1000), model=dict(blocks=blocks))
    waited,make = [],batches.batch
    def batch(epoch, step):
        seconds,result = timed(lambda: make(epoch, step), batches.device)
        waited.append(seconds)
        return result
    batches.batch = batch
    trainer = Trainer(build_model(config, []), batches, torch.arange(n)%2, config, precision)
    def turn():
        for _ in range(steps//2): trainer.train_step()   # what the workers had ready, and what they make ready behind our back, is used up
        waited.clear()
        return timed(lambda: [trainer.train_step() for _ in range(steps)], batches.device)[0], sum(waited)
    return turn

def main():
    p = parser(__doc__)
    p.add_argument('--photos', type=Path, help='a folder in the official layout (default: 400 drawn pets, about as large as the real photos)')
    args = p.parse_args()
    device,(n,size,rounds,blocks,steps) = args.device, (48, 128, 2, [1,1,1,1], 2) if args.quick else (400, 375, args.rounds, [3,4,23,3], 12)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pets = [p for p in find_pets(args.photos, folder, n, size) if p.path.suffix == '.jpg']
        root,n = official_folder(pets, folder/'official'), len(pets)//BATCH*BATCH
        epochs = take_turns({OURS: lambda: our_epochs(pets, device), THEIRS: lambda: their_epochs(root, device)}, rounds)
        first,later = ({side: [r[i] for r in results] for side,results in epochs.items()} for i in (0, 1))
        precision = pick_precision('auto', device)
        sources = {OURS: our_batches(pets, folder, device), THEIRS: Loaded(their_batches(root), device)}
        trained = take_turns({side: training(b, len(pets), precision, blocks, steps) for side,b in sources.items()}, rounds)
    photos,case = {OURS: n, THEIRS: n}, f'{len(pets)} photos'
    rows = [compare(f'{case}, later epochs', OURS, THEIRS, later, photos, 3.0), compare(f'{case}, first epoch', OURS, THEIRS, first, photos, 1.0),
        compare(f'training fed by it, {precision}', OURS, THEIRS, {s: [r[0] for r in v] for s,v in trained.items()}, dict.fromkeys(photos, steps*BATCH))]
    waits = {side: spread([100*waited/total for total,waited in results]) for side,results in trained.items()}
    report(args, __doc__, rows, waiting_for_input=[dict(side=side, **{f'{k}, % of a step': v for k,v in w.items()}, aim=10.0 if side == OURS else None) for side,w in waits.items()])

if __name__ == '__main__': main()
