"""Prediction from JPEG files to probabilities with ResNet-101, ours and torchvision's

Compared, on the same files and weights at 96 px, one file a call and 32 files a call: our
`Classifier.predict` with the network as it is (fp32), under bf16 autocast, and compiled by
`torch.compile` in both precisions; and torchvision's `resnet101` as its users write it: open,
resize, crop, normalise, stack, predict in fp32.
Left out: building the network; compiling, whose time (for one shape, without a cache of earlier
compilations) stands in a table of its own.
No side averages with the mirrored photo. Ours resizes by bicubic interpolation, torchvision's by
bilinear.
"""
import os; os.environ['TORCHINDUCTOR_FORCE_DISABLE_CACHES'] = '1'
import tempfile
from functools import partial
from pathlib import Path
import torch
from PIL import Image
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.transforms import v2
from resnet_pets.classifier import IMAGENET_MEAN, IMAGENET_STD, SPECIES, Classifier
from resnet_pets.config import Config
from resnet_pets.core import autocast
from resnet_pets.training import build_model
from common import compare, find_pets, parser, report, take_turns, timed

PX,THEIRS = 96, 'torchvision, plain'

class InBf16(nn.Module):
    "A network under bf16 autocast."
    def __init__(self, model, device):
        super().__init__()
        self.model,self.device = model,device
    def forward(self, x):
        with autocast(self.device, 'bf16'): return self.model(x)

def plain_predict(network, layers, device):
    "torchvision's network with the weights of ours, and the usual few lines around it."
    model = ResNet(Bottleneck, layers, num_classes=1).to(device).eval()
    model.load_state_dict(network.state_dict())
    transform = v2.Compose([v2.Resize(PX), v2.CenterCrop(PX), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    @torch.no_grad()
    def predict(paths):
        x = torch.stack([transform(Image.open(p).convert('RGB')) for p in paths])
        return model(x.to(device)).sigmoid().tolist()
    return predict

def our_predict(network): return Classifier(network, PX, classes=SPECIES, species=(0, 1)).predict

def main():
    p = parser(__doc__)
    p.add_argument('--photos', type=Path, help='a folder in the official layout '
        '(default: 32 drawn pets, about as large as the real photos)')
    args = p.parse_args()
    device,layers,many,rounds = args.device,[3,4,23,3],32,args.rounds
    if args.quick: layers,many,rounds = [1,1,1,1],4,2
    network = build_model(Config(model=dict(layers=layers)))
    network = network.to(device, memory_format=torch.channels_last).eval()
    rows,compiling = [],[]
    torch.compile(torch.neg)(torch.ones(1))   # the compiler itself is loaded here
    with tempfile.TemporaryDirectory() as folder:
        paths = [pet.path for pet in find_pets(args.photos, Path(folder), 32, 375)[:many]]
        for chunk,files in [(many, paths)] if args.quick else [(1, paths[:8]), (many, paths)]:
            case = f'{chunk} files a call' if chunk > 1 else '1 file a call'
            torch.compiler.reset()   # each shape is compiled for itself
            models = {'ours, fp32': network, 'ours, bf16': InBf16(network, device)}
            models |= {f'{k}, compiled': torch.compile(m, dynamic=False) for k,m in models.items()}
            sides = {THEIRS: plain_predict(network, layers, device)}
            sides |= {name: our_predict(m) for name,m in models.items()}
            for name in (n for n in models if 'compiled' in n):
                seconds,_ = timed(lambda: sides[name](files[:chunk]), device)
                compiling.append({'case': case, 'side': name, 'first call, s': seconds})
            chunks = [files[i:i+chunk] for i in range(0, len(files), chunk)]
            def turn(side): return timed(lambda: [side(c) for c in chunks], device)[0]
            seconds = take_turns({name: partial(turn, side) for name,side in sides.items()}, rounds)
            photos = dict.fromkeys(sides, len(files))
            rows += [compare(case, name, THEIRS, seconds, photos) for name in models]
    report(args, __doc__, rows, compiling=compiling)

if __name__ == '__main__': main()
