"""Networks of torchvision and timm, looked into by ours and by others

Tried, on two photos of noise: Grad-CAM at the last of `block_names`, and for a transformer at the
layer named, with a `reshape`. It is compared with the raw maps of captum's `LayerGradCam` and of
`GradCAM` of the package grad-cam: the largest difference anywhere, as a share of the largest value.
captum has no such option for tokens and channels that come last. torchvision's densenet121
overwrites the output of its last batch norm by a ReLU in place; captum and ours keep what the layer
gave, and grad-cam explains the overwritten values.
Then whether the network works in `Classifier.predict`, in the analysis behind the explorers and in
the export to ONNX with its check. "refused" means: by one message that says why.
The weights are random, and batch norms have seen eight photos: a trained network has other numbers
and the same layers. Everything on the CPU in float32.
"""
import math, tempfile
import numpy as np, timm, torch, torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from resnet_pets.classifier import Classifier
from resnet_pets.core import COLORS, PetsError, new_figure, seeded
from resnet_pets.export import export_classifier
from resnet_pets.features import block_names
from resnet_pets.gradcam import grad_cam
from resnet_pets.pictures import analyse
from common import parser, report

CLASSES = [3, 0]   # of the two photos

def on_grid(tokens): # without the class token
    side = math.isqrt(tokens.shape[1]-1)
    return tokens[:,1:].transpose(1, 2).unflatten(2, (side, side))

def channels_first(maps): return maps.permute(0, 3, 1, 2)

CNNS = ['timm mobilenetv3_small_050', 'timm mobilenetv4_conv_small', 'timm resnetv2_50',
    'timm ghostnet_050', 'timm hgnetv2_b0', 'timm resnet50', 'timm convnext_atto',
    'timm efficientnet_b0', 'timm regnety_002', 'timm mobilevit_xxs', 'torchvision vgg11',
    'torchvision resnet101', 'torchvision densenet121', 'torchvision squeezenet1_1',
    'torchvision mobilenet_v3_small', 'torchvision efficientnet_b0', 'torchvision convnext_tiny']
TRANSFORMERS = {   # layer, reshape, and how it is built
    'timm deit_tiny_patch16_224': ('blocks.11.norm1', on_grid, dict(img_size=128)),
    'timm vit_tiny_patch16_224': ('blocks.11.norm1', on_grid, dict(img_size=128)),
    'timm eva02_tiny_patch14_224': ('blocks.11.norm1', on_grid, dict(img_size=112)),
    'timm vit_small_patch14_dinov2': ('blocks.11.norm1', on_grid, dict(img_size=112)),
    'timm swin_tiny_patch4_window7_224': ('norm', channels_first, dict(img_size=224)),
    'torchvision swin_t': ('norm', channels_first, {}),
    'torchvision vit_b_16': ('encoder.layers.encoder_layer_11.ln_1', on_grid,
        dict(image_size=128))}

def build(name:str)->tuple: # network in evaluation mode, two photos, layer, reshape
    "A network with random weights."
    library,model = name.split()
    layer,reshape,how = TRANSFORMERS.get(name, (None, None, {}))
    size = next(iter(how.values()), 128)
    with seeded(0, name):
        if library == 'timm': network = timm.create_model(model, num_classes=10, **how)
        else: network = torchvision.models.get_model(model, num_classes=10, **how)
        squares = torch.randint(0, 256, (8, size, size, 3), dtype=torch.uint8)
        x = Classifier(network, size).normalize(squares)
        for m in network.eval().modules(): # some heads start at 0
            if isinstance(m, nn.Linear) and not m.weight.any(): nn.init.normal_(m.weight, std=.02)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms: m.train().momentum = 1.
    if norms:
        with torch.no_grad(): network(x)
    x = x[:2]
    return network.eval(), x, layer or block_names(network, x)[-1], reshape

def of_captum(network, x, layer):
    "Raw Grad-CAM by captum."
    explainer = LayerGradCam(network, network.get_submodule(layer))
    return explainer.attribute(x, target=CLASSES)[:,0].detach()

def of_package(network, x, layer, reshape=None):
    "Raw Grad-CAM by the package grad-cam, before it is scaled."
    targets = [ClassifierOutputTarget(c) for c in CLASSES]
    with GradCAM(network, [network.get_submodule(layer)], reshape_transform=reshape) as cam:
        cam(x, targets)
        kept = cam.activations_and_grads
        (a,),(g,) = kept.activations,kept.gradients
        return torch.from_numpy(
            cam.get_cam_image(x, cam.target_layers[0], targets, a.numpy(), g.numpy(), False))

def difference(ours, theirs)->float: # relative to the largest value
    "How far two sets of maps are apart."
    largest = theirs.abs().max().item()
    assert ours.shape == theirs.shape and largest > 0
    return (ours-theirs).abs().max().item()/largest

def shown(difference)->str: return f'{difference:.0e}' if difference else '0'

def said(work)->str:
    "Whether something works."
    try: work()
    except PetsError: return 'refused'
    return 'yes'

def look(name:str)->dict: # a row
    "All that is tried with one network."
    network,x,layer,reshape = build(name)
    ours = grad_cam(network, x, layer, CLASSES, reshape=reshape)[layer]
    package = shown(difference(ours, of_package(network, x, layer, reshape)))
    captum = None if reshape else shown(difference(ours, of_captum(network, x, layer)))
    classifier = Classifier(network, x.shape[-1])
    photo = np.random.default_rng(0).integers(0, 256, (150, 120, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        return {'network': name, 'weights': 'random, seed 0', 'px': x.shape[-1],
            'layer': f'{layer}, {reshape.__name__}' if reshape else layer,
            'map': '×'.join(map(str, ours.shape[1:])), 'difference from captum': captum,
            'from grad-cam': package, 'predict': said(lambda: classifier.predict(photo)),
            'explorers': said(lambda: analyse(classifier, photo)),
            'ONNX': said(lambda: export_classifier(classifier, folder, ['onnx']))}

def plot_differences(rows):
    "The largest difference of each network, from captum and from the package grad-cam."
    fig,axs = new_figure(size=(7.5, 1.1+.25*len(rows)))
    ax = axs[0,0]
    for column,color in (('difference from captum', 'dog'), ('from grad-cam', 'cat')):
        values = [(max(float(r[column]), 1e-9), i) for i,r in enumerate(rows) if r[column]]
        ax.plot(*zip(*values), 'o', color=COLORS[color], label=column.split()[-1])
    ax.set(xscale='log', xlim=(5e-10, 3), yticks=range(len(rows)),
        yticklabels=[r['network'] for r in rows], title='Our maps and theirs',
        xlabel='largest difference, as a share of the largest value (0 stands at 1e-9)')
    ax.tick_params(axis='y', labelsize=7)
    ax.invert_yaxis()
    ax.legend()
    return fig

def main():
    p = parser(__doc__)
    p.set_defaults(device='cpu')
    args = p.parse_args()
    names = [*CNNS, *TRANSFORMERS]
    if args.quick: names = ['timm mobilenetv3_small_050', 'timm vit_tiny_patch16_224']
    rows = []
    for name in names:
        print(name, flush=True)
        rows.append(look(name))
    report(args, __doc__, [], plot_differences(rows), networks=rows)

if __name__ == '__main__': main()
