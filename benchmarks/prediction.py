"""Prediction from JPEG files to probabilities with ResNet-101, ours and torchvision's

Compared, on the same files and weights at 96 px, one file a call and 32 files a call: our `predict_files` with the network as it is (fp32), under bf16 autocast,
and compiled by `torch.compile` in both precisions; and torchvision's `resnet101` as its users write it: open, resize, crop, normalise, stack, predict in fp32.
Left out: building the network; compiling, whose time (for one shape, without a cache of earlier compilations) stands in a table of its own.
No side averages with the mirrored photo. Ours decodes large JPEGs at a reduced scale, as it does in training.
"""
import os; os.environ['TORCHINDUCTOR_FORCE_DISABLE_CACHES'] = '1'
import tempfile
from dataclasses import replace
from pathlib import Path
import torch
from PIL import Image
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.transforms import v2
from resnet_pets.checkpoints import Saved, build_model
from resnet_pets.config import Config
from resnet_pets.core import autocast
from resnet_pets.runs import predict_files
from common import compare, find_pets, parser, report, take_turns, timed

MEAN,STD,THEIRS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 'torchvision, plain'

class InBf16(nn.Module):
    "A network under bf16 autocast."
    def __init__(self, model, device): super().__init__(); self.model,self.device = model,device
    def forward(self, x):
        with autocast(self.device, 'bf16'): return self.model(x)

def plain_predict(saved, device):
    "torchvision's network with the weights of ours, and the usual few lines around it."
    px,model = saved.config.data.image_size, ResNet(Bottleneck, list(saved.config.model.layers), num_classes=1).to(device).eval()
    model.load_state_dict(saved.model.state_dict())
    transform = v2.Compose([v2.Resize(px), v2.CenterCrop(px), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    @torch.no_grad()
    def predict(paths):
        x = torch.stack([transform(Image.open(p).convert('RGB')) for p in paths])
        return model(x.to(device)).sigmoid().tolist()
    return predict

def main():
    p = parser(__doc__)
    p.add_argument('--photos', type=Path, help='a folder in the official layout (default: 32 drawn pets, about as large as the real photos)')
    args = p.parse_args()
    device,(blocks,many,rounds) = args.device, ([1,1,1,1], 4, 2) if args.quick else ([3,4,23,3], 32, args.rounds)
    config = Config(model=dict(blocks=blocks))
    saved = Saved(build_model(config, []).to(device, memory_format=torch.channels_last).eval(), config, [], [], MEAN, STD)
    rows,compiling = [],[]
    torch.compile(torch.neg)(torch.ones(1))   # the compiler itself is loaded here
    with tempfile.TemporaryDirectory() as folder:
        paths = [pet.path for pet in find_pets(args.photos, Path(folder), 32, 375)[:many]]
        for chunk,files in [(many, paths)] if args.quick else [(1, paths[:8]), (many, paths)]:
            case = f'{chunk} files a call' if chunk > 1 else '1 file a call'
            torch.compiler.reset()   # each shape is compiled for itself
            models = {'ours, fp32': saved.model, 'ours, bf16': InBf16(saved.model, device)}
            models |= {f'{name}, compiled': torch.compile(model, dynamic=False) for name,model in models.items()}
            sides = {THEIRS: plain_predict(saved, device), **{name: lambda part,m=m: predict_files(replace(saved, model=m), part, device) for name,m in models.items()}}
            compiling += [{'case': case, 'side': name, 'first call, s': timed(lambda: sides[name](files[:chunk]), device)[0]} for name in models if 'compiled' in name]
            def turn(side): return timed(lambda: [side(files[i:i+chunk]) for i in range(0, len(files), chunk)], device)[0]
            seconds = take_turns({name: lambda side=side: turn(side) for name,side in sides.items()}, rounds)
            rows += [compare(case, name, THEIRS, seconds, dict.fromkeys(sides, len(files))) for name in models]
    report(args, __doc__, rows, compiling=compiling)

if __name__ == '__main__': main()
