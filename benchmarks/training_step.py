"""A training step of ResNet-101, ours and torchvision's

Compared, on the same premade batches (of 16 photos, or as --batch says) and 37 classes: our
`Trainer.train_step` with the optimizer of the recipe `fast`, all 33 blocks at work; torchvision's
`resnet101` in a plain loop (fp32, contiguous, `AdamW` as it comes, the loss read at each step); and
the same `resnet101` with every fast setting (our precision by autocast, channels_last, fused AdamW,
gradients set to None, the loss never read).
`--compile` adds that one with the network compiled by `torch.compile`.
Left out: making and moving batches, validation, checkpoints. Each side has its batches in the
memory format that it wants.
Peak memory is that of a fresh process of one side after three steps: all of it, Python and
libraries included.
"""
import json
from functools import partial
from itertools import cycle
import torch, torch.nn.functional as F, torchvision
from resnet_pets.config import Config
from resnet_pets.core import autocast, pick_precision
from resnet_pets.training import Trainer, build_model
from common import compare, in_child, parser, peak_memory, report, take_turns, timed

CLASSES,STEPS = 37,2   # steps in a turn

class Premade:
    "Batches that `Trainer` takes, in memory already."
    def __init__(self, photos, device):
        self.photos,self.device = photos,device
        self.batch_size = len(photos[0])
    def __len__(self): return len(self.photos)
    def order(self, epoch, step): return torch.arange(self.batch_size)+step*self.batch_size
    def batch(self, epoch, step): return self.photos[step], self.order(epoch, step)

def our_step(photos, labels, device, precision):
    config = Config(training=dict(epochs=1000), model=dict(head='breeds'))
    photos = [x.contiguous(memory_format=torch.channels_last) for x in photos]
    model = build_model(config, range(CLASSES))
    return Trainer(model, Premade(photos, device), labels.flatten(), config, precision).train_step

def plain_step(photos, labels, device, precision):
    model = torchvision.models.resnet101(num_classes=CLASSES).to(device)
    optimizer,batches = torch.optim.AdamW(model.parameters()), cycle(zip(photos, labels))
    def step():
        x,y = next(batches)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()
    return step

def fast_step(photos, labels, device, precision, compiled=False):
    model = torchvision.models.resnet101(num_classes=CLASSES)
    model = model.to(device, memory_format=torch.channels_last)
    if compiled: model.compile(dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    photos = [x.contiguous(memory_format=torch.channels_last) for x in photos]
    batches = cycle(zip(photos, labels))
    def step():
        x,y = next(batches)
        with autocast(device, precision): logits = model(x)
        loss = F.cross_entropy(logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return step

COMPILED = 'torchvision, compiled'
SIDES = {'ours': our_step, 'torchvision, plain': plain_step, 'torchvision, fast': fast_step,
    COMPILED: partial(fast_step, compiled=True)}

def make_step(side, px, batch, device, precision):
    generator = torch.Generator().manual_seed(0)
    photos = torch.randn(2, batch, 3, px, px, generator=generator).to(device)
    labels = torch.randint(CLASSES, (2, batch), generator=generator).to(device)
    return SIDES[side](list(photos), labels, device, precision)

def main():
    options = parser(__doc__)
    options.add_argument('--batch', type=int, default=16, help='photos of a step (default 16)')
    options.add_argument('--compile', action='store_true',
        help='and with a compiled network; compiling takes minutes on a CPU')
    args = options.parse_args()
    device,sizes,batch,rounds = args.device,(64, 128, 224),args.batch,args.rounds
    if args.quick: sizes,batch,rounds = (32,),2,2
    if args.child:
        side,px,precision = args.child
        step = make_step(side, int(px), batch, device, precision)
        for _ in range(3): step()
        return print(json.dumps(peak_memory(device)))
    sides = [side for side in SIDES if args.compile or side != COMPILED]
    precision,rows,tables = pick_precision('auto', device), [], {}
    for px in sizes:
        case = f'{px} px, {precision}'
        steps = {side: make_step(side, px, batch, device, precision) for side in sides}
        if args.compile:
            first,_ = timed(steps[COMPILED], device)
            tables.setdefault('compiling', []).append({'case': case, 'first step, s': first})
        def turn(step): return timed(lambda: [step() for _ in range(STEPS)], device)[0]
        seconds = take_turns({side: partial(turn, step) for side,step in steps.items()}, rounds)
        photos = dict.fromkeys(sides, STEPS*batch)
        aim = 1.9 if precision == 'bf16' else None
        rows += [compare(case, 'ours', 'torchvision, plain', seconds, photos, aim),
            compare(case, 'ours', 'torchvision, fast', seconds, photos, 0.95)]
        if args.compile: rows.append(compare(case, COMPILED, 'torchvision, fast', seconds, photos))
        peaks = {f'{side}, MB': in_child(side, px, precision) for side in sides}
        tables.setdefault('peak_memory', []).append({'case': case, **peaks})
    report(args, __doc__, rows, **tables)

if __name__ == '__main__': main()
