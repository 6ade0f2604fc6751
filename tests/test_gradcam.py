"Grad-CAM and its relatives against captum and grad-cam, which others wrote."
import pytest, torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from torchvision.models import resnet18, resnet101
from resnet_pets import resnet
from resnet_pets.core import rng, seeded
from resnet_pets.features import block_names
from resnet_pets.gradcam import METHODS, grad_cam

THEIRS = {'gradcam': GradCAM, 'hirescam': HiResCAM, 'gradcam++': GradCAMPlusPlus, 'layercam': LayerCAM}
CLASSES = [3, 0, 4]   # of the three photos
LAYERS = ['maxpool', 'layer1.0', 'layer2.1', 'layer3.1', 'layer4.0', 'layer4.1']

@pytest.fixture(scope='module', params=[resnet18, resnet101], ids=lambda f: f.__name__)
def network(request):
    "torchvision's network with random weights and norms that have seen a batch, so that numbers stay of ordinary size; and photos of noise."
    with seeded(0, 'network'): model = request.param(num_classes=5).double()
    x = torch.randn(3, 3, 64, 64, generator=rng(0)).double()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.momentum = 1.
    model.train()(x)
    return model.eval(), x

def difference(a, b)->float: return ((a-b).abs().max()/b.abs().max()).item()   # relative to the largest value

@pytest.mark.parametrize('precision', [torch.float32, torch.float64], ids=['float32', 'float64'])
def test_same_as_captum(network, precision):
    model,x = network[0].to(precision), network[1].to(precision)
    ours = grad_cam(model, x, LAYERS, CLASSES)
    for name in LAYERS:
        theirs = LayerGradCam(model, model.get_submodule(name)).attribute(x, target=CLASSES)[:,0]
        assert difference(ours[name], theirs) < 1e-4, name

class Scaled:
    "grad-cam's Grad-CAM++ adds 1e-6 to a square of gradients; at this scale of the logit it does not show."
    def __init__(self, number): self.number = number
    def __call__(self, logits): return 1e4*logits[self.number]

@pytest.mark.parametrize('method', METHODS)
def test_same_as_grad_cam(network, method):
    model,x = network[0].double(), network[1]
    ours = grad_cam(model, x, LAYERS, lambda logits: 1e4*logits[range(3), CLASSES], method=method)
    targets = [Scaled(c) for c in CLASSES]
    with THEIRS[method](model, [model.get_submodule(name) for name in LAYERS]) as cam:
        cam(x, targets)
        caught = [(a.numpy(), g.numpy()) for a,g in zip(cam.activations_and_grads.activations, cam.activations_and_grads.gradients)]
        raw = [cam.get_cam_image(x, layer, targets, *both, False) for layer,both in zip(cam.target_layers, caught)]
    for name,theirs in zip(LAYERS, raw): assert difference(ours[name], torch.from_numpy(theirs)) < 1e-4, name

def test_our_network_explains_itself_like_torchvisions(network):
    model,x = network[0].double(), network[1]
    ours = getattr(resnet, 'resnet18' if len(model.layer3) == 2 else 'resnet101')(num_classes=5).double()
    resnet.load_weights(ours, model.state_dict())
    names = block_names(model, x)
    assert names == block_names(ours, x) and len(names) == 1+sum(len(getattr(model, f'layer{i}')) for i in (1, 2, 3, 4))
    for a,b in zip(*(grad_cam(m, x, names, CLASSES).values() for m in (ours, model))): assert difference(a, b) < 1e-9
