"""ResNet-101 exported: onnxruntime and torch.export beside eager PyTorch

Compared, on the same photos of noise at 96 px, 1 and 32 a call, on the CPU: the network with its
normalisation, run by PyTorch operation by operation (eager); the same as `model.pt2`, read back by
`torch.export.load`; and as `model.onnx` in onnxruntime, with as many threads as torch has. All in
fp32, without the mirrored photo.
Left out: exporting and opening, whose times stand in a table of their own with the sizes of the
files; decoding.
"""
import tempfile
from functools import partial
from pathlib import Path
import torch
from resnet_pets.classifier import SPECIES, Classifier
from resnet_pets.config import Config
from resnet_pets.export import FORMATS, about, largest_difference, trace
from resnet_pets.photos import normalize_pixels
from resnet_pets.training import build_model
from common import compare, parser, report, take_turns, timed

EAGER,SIDES = 'eager', dict(pt2='torch.export', onnx='onnxruntime')

def eager(classifier, photos):
    "The answers by PyTorch as it comes."
    logits = classifier.logits(normalize_pixels(photos, classifier.mean, classifier.std))
    return dict(logits=logits, z=classifier.species_logit(logits))

def export(classifier, folder, device):
    "The exported sides, and what it took to make them."
    seconds,program = timed(lambda: trace(classifier), device)
    sides,rows = {}, [dict(what='trace', seconds=seconds, MB=None)]
    facts = about(classifier, 'benchmark')
    for format,(write,read) in FORMATS.items():
        path = folder/f'model.{format}'
        seconds,_ = timed(lambda: write(program, facts, path), device)
        rows.append(dict(what=f'write {path.name}', seconds=seconds, MB=path.stat().st_size/1e6))
        seconds,sides[SIDES[format]] = timed(lambda: read(path), device)
        rows.append(dict(what=f'open {path.name}', seconds=seconds, MB=None))
        largest_difference(classifier, sides[SIDES[format]])
    return sides, rows

def main():
    p = parser(__doc__)
    p.set_defaults(device='cpu')
    args = p.parse_args()
    device = args.device
    if device.type != 'cpu': p.error('this one is about the CPU')
    layers,px,many,rounds = [3,4,23,3],96,32,args.rounds
    if args.quick: layers,px,many,rounds = [1,1,1,1],64,2,2
    network = build_model(Config(model=dict(layers=layers)))
    classifier = Classifier(network, px, classes=SPECIES, species=(0, 1)).eval()
    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        exported,making = export(classifier, Path(folder), device)
        sides = {EAGER: partial(eager, classifier)} | exported
        for n in (1, many):
            x = torch.rand(n, 3, px, px, generator=torch.Generator().manual_seed(0))
            calls = 8 if n == 1 else 1
            def turn(side): return timed(lambda: [side(x) for _ in range(calls)], device)[0]
            seconds = take_turns({name: partial(turn, side) for name,side in sides.items()}, rounds)
            case = '1 photo a call' if n == 1 else f'{n} photos a call'
            photos = dict.fromkeys(sides, n*calls)
            rows += [compare(case, name, EAGER, seconds, photos) for name in exported]
    report(args, __doc__, rows, making=making)

if __name__ == '__main__': main()
