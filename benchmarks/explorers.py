"""From a control to a new picture in the explorers, with ResNet-101

Measured, at 224 px with all 34 blocks: the time from setting a control of `FeatureMapExplorer` or `GradCamExplorer` to the new bytes in their widgets, everything that moves with the control included
(24 tiles, the picture over the photo, numbers and model summary; two maps and a strip of 12). The network must not run meanwhile, and the benchmark fails if it does.
Each round moves each control to another value once. The aim is 100 ms for the 95th percentile. The rows of ratios set the same pictures against what the explorers replace:
a forward pass for each change, and a figure by matplotlib.
Left out: the way from kernel to browser and the browser's own work, which `explorers_browser.py` measures. What is computed once for a photo stands in a table of its own.
"""
import statistics
import torch
from torchvision.models import ResNet
from torchvision.models.resnet import Bottleneck
from resnet_pets.classifier import Classifier
from resnet_pets.core import COLORS, new_figure, seeded
from resnet_pets.draw import BREEDS, draw_pet
from resnet_pets.explorers import FeatureMapExplorer, GradCamExplorer
from resnet_pets.pictures import analyse, find_blocks
from resnet_pets.features import feature_maps
from common import compare, parser, report, take_turns, timed

def network(blocks, device):
    with seeded(0, 'network'): return ResNet(Bottleneck, blocks, num_classes=2).to(device).eval()

def turn(control, step=1):
    "Move a control to its next value; for those with options in a circle."
    if hasattr(control, 'options'): control.index = (control.index+step)%len(control.options)
    elif hasattr(control, 'step') and isinstance(control.value, float): control.value = control.value-control.step if control.value > control.min+control.step else control.max
    elif isinstance(control.value, bool): control.value = not control.value
    else: control.value = (control.value+step)%(control.max+1)

def controls(maps, heat)->dict:
    a,b = heat.panes
    return {'block': maps.block, 'stage': maps.stage, 'channel': maps.channel, 'opacity': maps.opacity, 'class A': a.name, 'block A': a.block, 'block B': b.block, 'method': heat.method, 'opacity of the heat': heat.opacity}

def slow_picture(model, x, layer):
    "What a forward pass and a figure make of the 24 strongest channels."
    fig,axs = new_figure(3, 8, size=(8, 3), images=True)
    stack = feature_maps(model, x, layer)[layer][0].cpu()
    for ax,m in zip(axs.flat, stack): ax.imshow(m)
    return fig._repr_png_()

def percentiles(name, seconds, aim=100)->dict:
    ms = sorted(1000*s for s in seconds)
    return {'control': name, 'median, ms': statistics.median(ms), 'p95, ms': statistics.quantiles(ms, n=20, method='inclusive')[-1], 'slowest, ms': ms[-1], 'aim for p95, ms': aim}

def plot(table):
    fig,axs = new_figure(size=(6.5, .9+.3*len(table))); ax = axs[0,0]
    for y,r in enumerate(table):
        ax.hlines(y, r['median, ms'], r['p95, ms'], color=COLORS['dog'], linewidth=2)
        ax.plot(r['median, ms'], y, 'o', color=COLORS['dog'])
    ax.axvline(100, linestyle='--', color=COLORS['cat'])
    ax.set(yticks=range(len(table)), yticklabels=[r['control'] for r in table], xlabel='ms, median to 95th percentile; dashed: the aim', xlim=(0, None))
    ax.invert_yaxis()
    return fig

def main():
    args = parser(__doc__).parse_args()
    device,(blocks,px,rounds) = args.device, ([1,1,1,1], 64, 2) if args.quick else ([3,4,23,3], 224, max(args.rounds, 20))
    classifier = Classifier(network(blocks, device), px, classes=['cat', 'dog'])
    photo = draw_pet(BREEDS[0], 3, (300, 240)).image
    first,_ = timed(lambda: analyse(classifier, photo), device)
    layers = find_blocks(classifier)
    again,_ = timed(lambda: analyse(classifier, photo, blocks=layers), device)
    once = [dict(what='dry runs and first photo', seconds=first), dict(what='a photo', seconds=again)]
    maps,heat = (explorer(classifier, photo) for explorer in (FeatureMapExplorer, GradCamExplorer))
    ran = []
    counter = classifier.network.register_forward_hook(lambda *_: ran.append(1))
    parts = controls(maps, heat)
    seconds = take_turns({name: lambda c=c: timed(lambda: turn(c), torch.device('cpu'))[0] for name,c in parts.items()}, rounds)
    if ran: raise SystemExit('a control has run the network')
    counter.remove()
    table = [percentiles(name, values) for name,values in seconds.items()] + [percentiles('all controls', [s for v in seconds.values() for s in v])]
    x,layer = classifier.preprocess(photo), list(layers.values())[1]
    sides = {'explorer': lambda: timed(lambda: turn(maps.block), torch.device('cpu'))[0], 'forward pass and figure': lambda: timed(lambda: slow_picture(classifier, x, layer), device)[0]}
    rows = [compare(f'pictures of a block, {px} px', *sides, take_turns(sides, min(rounds, args.rounds)), dict.fromkeys(sides, 1))]
    kept = [dict(what='kept for a photo, MB', value=maps.analyses['model'].nbytes/1e6)]
    report(args, __doc__, rows, figure=plot(table), time_to_new_pictures=table, computed_once=once, memory=kept)

if __name__ == '__main__': main()
