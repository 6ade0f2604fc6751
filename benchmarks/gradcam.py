"""Grad-CAM of ResNet-101, ours, captum's and pytorch-grad-cam's

Compared, on torchvision's `resnet101` in evaluation mode and the same photos of noise at 224 px,
batches of 1 and 16: raw Grad-CAM maps at the last block, by our `grad_cam`, by captum's
`LayerGradCam` and by `GradCAM` of the package grad-cam, which also enlarges each map and scales it;
ours is given the same to do against that one.
Then the maps of all 33 blocks: ours by one pass forward and one back, beside 33 calls of captum and
33 of our own.
Left out: building the network and the explainers, moving photos.
Peak memory is that of a fresh process of one side after three calls: all of it, Python and
libraries included.
"""
import json
import torch
from torchvision.models import ResNet
from torchvision.models.resnet import Bottleneck
from resnet_pets.core import seeded
from resnet_pets.gradcam import grad_cam, normalize_cam, upsample
from common import compare, in_child, parser, peak_memory, report, take_turns, timed

OURS,CAPTUM,PACKAGE,CLASS = 'ours', 'captum', 'grad-cam', 1

def network(blocks, device):
    with seeded(0, 'network'): return ResNet(Bottleneck, blocks, num_classes=2).to(device).eval()

def blocks_of(model)->list[str]:
    stages = [f'layer{i}' for i in (1, 2, 3, 4)]
    return [f'{s}.{b}' for s in stages for b in range(len(model.get_submodule(s)))]

def one_layer(side, model, x):
    "A function that explains the batch at the last block."
    last = blocks_of(model)[-1]
    if side == OURS: return lambda: grad_cam(model, x, last, CLASS)
    if side == f'{OURS}, enlarged':
        def enlarged(): return upsample(grad_cam(model, x, last, CLASS)[last].relu(), x.shape[2:])
        return lambda: normalize_cam(enlarged()).cpu()
    if side == CAPTUM:
        from captum.attr import LayerGradCam
        explainer = LayerGradCam(model, model.get_submodule(last))
        return lambda: explainer.attribute(x, target=CLASS)
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    explainer = GradCAM(model, [model.get_submodule(last)])
    targets = [ClassifierOutputTarget(CLASS)]*len(x)
    return lambda: explainer(x, targets)

def all_layers(side, model, x):
    "A function that explains the batch at every block."
    names = blocks_of(model)
    if side == OURS: return lambda: grad_cam(model, x, names, CLASS)
    if side == CAPTUM:
        from captum.attr import LayerGradCam
        explainers = [LayerGradCam(model, model.get_submodule(name)) for name in names]
        return lambda: [e.attribute(x, target=CLASS) for e in explainers]
    return lambda: [grad_cam(model, x, name, CLASS) for name in names]

def photos(n, px, device):
    return torch.randn(n, 3, px, px, generator=torch.Generator().manual_seed(0)).to(device)

def measure(make, sides, model, x, rounds, device, calls=1):
    "Seconds of each side in each round."
    work = {side: make(side, model, x) for side in sides}
    def seconds(w): return timed(lambda: [w() for _ in range(calls)], device)[0]
    return take_turns({side: lambda w=w: seconds(w) for side,w in work.items()}, rounds)

def main():
    args = parser(__doc__).parse_args()
    device = args.device
    blocks,px,many,rounds = [3,4,23,3], 224, 16, args.rounds
    if args.quick: blocks,px,many,rounds = [1,1,1,1], 64, 2, 2
    model = network(blocks, device)
    if args.child:
        side,n = args.child
        explain = one_layer(side, model, photos(int(n), px, device))
        for _ in range(3): explain()
        return print(json.dumps(peak_memory(device)))
    rows,peaks = [], []
    for n in (1, many):
        case = f"{n} {'photo' if n == 1 else 'photos'} a call, one layer"
        x = photos(n, px, device)
        calls = 3 if n == 1 else 1
        sides = [OURS, f'{OURS}, enlarged', CAPTUM, PACKAGE]
        peaks.append({'case': case, **{f'{side}, MB': in_child(side, n) for side in sides}})
        seconds = measure(one_layer, sides, model, x, rounds, device, calls)
        shown = dict.fromkeys(sides, n*calls)
        rows.append(compare(case, OURS, CAPTUM, seconds, shown, .95))
        rows.append(compare(case, f'{OURS}, enlarged', PACKAGE, seconds, shown, .95))
    each = f'{OURS}, block by block'
    case = f'1 photo, all {len(blocks_of(model))} blocks'
    sides,x = [OURS, CAPTUM, each], photos(1, px, device)
    seconds = measure(all_layers, sides, model, x, rounds, device)
    for side,times in ((CAPTUM, 10), (each, None)):
        rows.append(compare(case, OURS, side, seconds, dict.fromkeys(seconds, 1), times))
    report(args, __doc__, rows, peak_memory=peaks)

if __name__ == '__main__': main()
