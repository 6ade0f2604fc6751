"""An epoch of training as the number of photos grows

Compared: the same work a photo at 500, 1,000, 2,000 and 3,600 photos: decode into a fresh cache,
then one epoch of `Trainer.train_step` in batches of 16 at 64 px, with a ResNet so small that the
network does not hide the rest. The ratio is the speed at that number divided by the speed at the
smallest: 1 is flat.
Each measurement is a fresh process, with a few steps to warm up first. Left out: its start, drawing
the photos, validation.
Peak memory is all that the process holds, Python, libraries and the cache included; the cache is a
mapped file, counted when read, but the system may drop its pages when it needs room.
"""
import json, tempfile
from functools import partial
from pathlib import Path
import torch
from resnet_pets.batches import Batches, cache_size, photo_cache
from resnet_pets.config import Augmentation, Config
from resnet_pets.core import COLORS, PetsError, new_figure, pick_precision
from resnet_pets.training import Trainer, build_model
from common import (compare, find_pets, in_child, parser, peak_memory, report, spread, take_turns,
    timed)

PX = 64
CONFIG = Config(model=dict(block='basic', layers=(1,1,1,1), width=16), training=dict(epochs=1))

def epoch(pets, folder, device, precision)->int: # MB of cache
    "Decode and train once through."
    cache = photo_cache(pets, cache_size(PX), folder=folder)
    batches = Batches(cache, PX, [0.5]*3, [0.25]*3, CONFIG.training.batch_size, Augmentation(),
        device=device, drop_last=True)
    target = torch.tensor([p.species for p in pets])
    trainer = Trainer(build_model(CONFIG), batches, target, CONFIG, precision)
    for _ in range(trainer.steps): trainer.train_step()
    return cache.photos.nbytes/1e6

def measure(pets, device, precision)->dict:
    with tempfile.TemporaryDirectory() as folder:
        epoch(pets[:32], folder, device, precision)   # warms up
        seconds,cache = timed(lambda: epoch(pets, folder, device, precision), device)
    return dict(seconds=seconds, peak=peak_memory(device), cache=cache)

def plot_growth(numbers, seconds, peaks):
    "Time a photo and memory against the number of photos."
    fig,axs = new_figure(1, 2)
    fig.suptitle(__doc__.split('\n')[0])
    for ax,values,label in zip(axs[0], (seconds, peaks), ('ms a photo', 'peak memory, MB')):
        low,mid,high = ([spread(v)[q] for v in values] for q in ('q1', 'median', 'q3'))
        ax.plot(numbers, mid, 'o-', color=COLORS['dog'])
        ax.fill_between(numbers, low, high, color=COLORS['dog'], alpha=.2)
        ax.set(xlabel='photos', ylabel=label, xlim=(0, None), ylim=(0, 1.15*max(high)))
    return fig

def main():
    p = parser(__doc__)
    p.add_argument('--photos', type=Path,
        help='a folder in the official layout (default: 3,600 drawn pets)')
    args = p.parse_args()
    device,numbers,rounds = args.device,(500, 1000, 2000, 3600),args.rounds
    if args.quick: numbers,rounds = (48, 96),2
    if args.child:
        folder,n,precision = args.child
        pets = find_pets(Path(folder), None, 0, 0)[:int(n)]
        return print(json.dumps(measure(pets, device, precision)))
    precision = pick_precision('auto', device)
    with tempfile.TemporaryDirectory() as tmp:
        pets = find_pets(args.photos, Path(tmp), numbers[-1], 128)
        source = pets[0].path.parents[1]
        photos = {f'{n:,} photos': n for n in numbers if n <= len(pets)}
        if len(photos) < 2:
            raise PetsError(f'{len(pets)} photos are too few', source, f'Give {numbers[1]:,}')
        sides = {side: partial(in_child, source, n, precision) for side,n in photos.items()}
        results = take_turns(sides, rounds)
    seconds,peak,cache = ({side: [r[key] for r in found] for side,found in results.items()}
        for key in ('seconds', 'peak', 'cache'))
    smallest,*larger = sides
    case = f'training, {PX} px, {precision}'
    rows = [compare(case, side, smallest, seconds, photos, 0.9) for side in larger]
    median = {side: spread(v)['median'] for side,v in peak.items()}
    memory = [{'case': side, 'peak, MB': mb, 'above the smallest, MB': mb-median[smallest],
        'size of the cache, MB': cache[side][0]} for side,mb in median.items()]
    per_photo = [[1000*s/photos[side] for s in v] for side,v in seconds.items()]
    figure = plot_growth(list(photos.values()), per_photo, list(peak.values()))
    report(args, __doc__, rows, figure, peak_memory=memory)

if __name__ == '__main__': main()
