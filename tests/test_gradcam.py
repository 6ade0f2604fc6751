"Grad-CAM and its relatives against captum and grad-cam, which others wrote."
import pytest, torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from torchvision.models import resnet18, resnet101
from resnet_pets import resnet
from resnet_pets.core import rng, seeded
from resnet_pets.features import block_names
from resnet_pets.gradcam import METHODS, grad_cam

THEIRS = {'gradcam': GradCAM, 'hirescam': HiResCAM,
    'gradcam++': GradCAMPlusPlus, 'layercam': LayerCAM}
CLASSES = [3, 0, 4]   # of the three photos
LAYERS = ['maxpool', 'layer1.0', 'layer2.1', 'layer3.1', 'layer4.0', 'layer4.1']

@pytest.fixture(scope='module', params=[resnet18, resnet101], ids=lambda f: f.__name__)
def network(request):
    "torchvision's network, random but for batch norms that have seen a batch; and photos of noise."
    with seeded(0, 'network'): model = request.param(num_classes=5).double()
    x = torch.randn(3, 3, 64, 64, generator=rng(0)).double()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.momentum = 1.
    model.train()(x)
    return model.eval(), x

def difference(a, b)->float: # relative to the largest value
    return ((a-b).abs().max()/b.abs().max()).item()

@pytest.mark.parametrize('precision', [torch.float32, torch.float64], ids=['float32', 'float64'])
def test_same_as_captum(network, precision):
    model,x = network[0].to(precision), network[1].to(precision)
    ours = grad_cam(model, x, LAYERS, CLASSES)
    for name in LAYERS:
        theirs = LayerGradCam(model, model.get_submodule(name)).attribute(x, target=CLASSES)[:,0]
        assert difference(ours[name], theirs) < 1e-4, name

class Scaled:
    "The 1e-6 that grad-cam's Grad-CAM++ adds to a square of gradients does not show at this scale."
    def __init__(self, number): self.number = number
    def __call__(self, logits): return 1e4*logits[self.number]

def test_layers_may_be_modules(network):
    model,x = network[0].double(), network[1]
    named = grad_cam(model, x, LAYERS, CLASSES)
    given = grad_cam(model, x, [model.get_submodule(name) for name in LAYERS], CLASSES)
    assert list(given) == LAYERS and all(torch.equal(given[name], named[name]) for name in LAYERS)
    last = model.layer4[-1]
    theirs = LayerGradCam(model, last).attribute(x, target=CLASSES)[:,0]
    assert difference(*grad_cam(model, x, last, CLASSES).values(), theirs) < 1e-9

@pytest.mark.parametrize('method', METHODS)
def test_same_as_grad_cam(network, method):
    model,x = network[0].double(), network[1]
    def scaled(logits): return 1e4*logits[range(3), CLASSES]
    ours = grad_cam(model, x, LAYERS, scaled, method=method)
    targets = [Scaled(c) for c in CLASSES]
    with THEIRS[method](model, [model.get_submodule(name) for name in LAYERS]) as cam:
        cam(x, targets)
        kept = cam.activations_and_grads
        raw = [cam.get_cam_image(x, layer, targets, a.numpy(), g.numpy(), False)
            for layer,a,g in zip(cam.target_layers, kept.activations, kept.gradients)]
    for name,theirs in zip(LAYERS, raw):
        assert difference(ours[name], torch.from_numpy(theirs)) < 1e-4, name

def test_our_network_explains_itself_like_torchvisions(network):
    model,x = network[0].double(), network[1]
    build = resnet.resnet18 if len(model.layer3) == 2 else resnet.resnet101
    ours = build(num_classes=5).double()
    resnet.load_weights(ours, model.state_dict())
    names = block_names(model, x)
    blocks = [len(stage) for stage in (model.layer1, model.layer2, model.layer3, model.layer4)]
    assert names == block_names(ours, x) and len(names) == 1+sum(blocks)
    ours,theirs = (grad_cam(m, x, names, CLASSES) for m in (ours, model))
    for name in names: assert difference(ours[name], theirs[name]) < 1e-9
