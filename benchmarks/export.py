"""ResNet-101 exported: onnxruntime and torch.export beside eager PyTorch

Compared, on the same photos of noise at 96 px, 1 and 32 a call, on the CPU: `Portable`, which is the network with its normalisation and species, run by PyTorch operation by operation (eager);
the same as `model.pt2`, read back by `torch.export.load`; and as `model.onnx` in onnxruntime, with as many threads as torch has. All in fp32, without the mirrored photo.
Left out: exporting and opening, whose times stand in a table of their own with the sizes of the files; decoding.
"""
import tempfile
from pathlib import Path
import torch
from resnet_pets.checkpoints import Saved, build_model
from resnet_pets.config import Config
from resnet_pets.export import FORMATS, Portable, about, disagreement, trace
from common import compare, parser, report, take_turns, timed

MEAN,STD,EAGER,SIDES = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 'eager', dict(pt2='torch.export', onnx='onnxruntime')

def export(saved, portable, px, folder, device):
    "The exported sides, and what it took to make them."
    seconds,program = timed(lambda: trace(portable, px), device)
    sides,rows = {}, [dict(what='trace', seconds=seconds, MB=None)]
    for format,(write,read) in FORMATS.items():
        path = folder/f'model.{format}'
        rows.append(dict(what=f'write {path.name}', seconds=timed(lambda: write(program, about(saved, 'benchmark'), path), device)[0], MB=path.stat().st_size/1e6))
        seconds,sides[SIDES[format]] = timed(lambda: read(path), device)
        rows.append(dict(what=f'open {path.name}', seconds=seconds, MB=None))
        disagreement(portable, sides[SIDES[format]], px)
    return sides, rows

def main():
    p = parser(__doc__)
    p.set_defaults(device='cpu')
    args = p.parse_args()
    if args.device.type != 'cpu': p.error('this one is about the CPU')
    device,(blocks,px,many,rounds) = args.device, ([1,1,1,1], 64, 2, 2) if args.quick else ([3,4,23,3], 96, 32, args.rounds)
    config = Config(model=dict(blocks=blocks), data=dict(image_size=px))
    saved,rows = Saved(build_model(config, []), config, [], [], MEAN, STD), []
    portable = Portable(saved)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        exported,making = export(saved, portable, px, Path(folder), device)
        for n in (1, many):
            x,calls = torch.rand(n, 3, px, px, generator=torch.Generator().manual_seed(0)), 8 if n == 1 else 1
            sides = {EAGER: portable} | exported
            seconds = take_turns({name: lambda side=side: timed(lambda: [side(x) for _ in range(calls)], device)[0] for name,side in sides.items()}, rounds)
            case = '1 photo a call' if n == 1 else f'{n} photos a call'
            rows += [compare(case, name, EAGER, seconds, dict.fromkeys(sides, n*calls)) for name in exported]
    report(args, __doc__, rows, making=making)

if __name__ == '__main__': main()
