"Networks that do what most don't: looked into without a trace, and randomised completely."
import copy
import pytest, torch, torchvision
from torch import distributed, nn
from resnet_pets.classifier import Classifier
from resnet_pets.core import PetsError
from resnet_pets.features import block_names, feature_maps
from resnet_pets.faithfulness import cascading_randomization, measure_faithfulness
from resnet_pets.gradcam import grad_cam
from resnet_pets.localization import (energy_pointing_game, maps_and_baselines,
    predicted_classes, randomize_weights)

X = torch.rand(2, 3, 32, 32)

def net(*first):
    return nn.Sequential(*first, nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

def check_same(found, known):
    assert list(found) == list(known)
    for k in known: torch.testing.assert_close(found[k].cpu(), known[k])

@pytest.mark.filterwarnings('ignore')
def test_weights_made_of_other_weights_are_randomized():
    utils = nn.utils
    for norm in (utils.weight_norm, utils.spectral_norm, utils.parametrizations.weight_norm):
        model = net()
        norm(model[0]); norm(model[-1])
        model(X)    # leaves tensors behind that can't be copied
        assert (model.eval()(X)-randomize_weights(model)(X)).abs().min() > 1e-4
        batches = [(X, torch.ones(2, 3, 32, 32))]
        measured,similarity = measure_faithfulness(model, batches, '2', steps=8, grid_size=4)
        trained,random = measured['gradcam', 'insertion'], measured['untrained', 'insertion']
        assert not torch.equal(trained, random) and similarity

def test_a_layer_of_two_names_is_randomized_under_either():
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model.alias = nn.Sequential(*model.backbone)
    before = model.backbone[0].weight.clone()
    for name in ('alias', 'backbone'):
        _,randomized = next(cascading_randomization(model, [name]))
        assert not torch.equal(randomized.backbone[0].weight, before)
        assert torch.equal(model.backbone[0].weight, before)

@pytest.mark.parametrize('first', [nn.ReLU(inplace=True), nn.Hardtanh(0., .5, inplace=True)])
def test_work_in_place_does_not_reach_the_batch(first):
    model,batch = net(first).eval(), X.clone()-.5
    looks = [block_names, predicted_classes, lambda *given: feature_maps(*given, '3'),
        lambda *given: grad_cam(*given, '3')]
    for look in looks:
        look(model, batch)
        assert torch.equal(batch, X-.5)

@pytest.mark.parametrize('how', ['whole', 'part'])
def test_compiled_in_place(how):
    model = net().eval()
    plain,cam = feature_maps(model, X, ['0', '2']), grad_cam(model, X, ['0', '2'])
    if how == 'whole': model.compile(backend='eager')
    else: model[2] = torch.compile(model[2], backend='eager')
    with torch.no_grad(): model(X)
    model(X)
    check_same(feature_maps(model, X, ['0', '2']), plain)
    check_same(grad_cam(model, X, ['0', '2']), cam)
    assert len(block_names(model, X)) == 2

@pytest.fixture
def one_process():
    distributed.init_process_group('gloo', store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()

WRAPPERS = dict(compiled=torch.compile, parallel=nn.DataParallel,
    distributed=nn.parallel.DistributedDataParallel, classifier=lambda m: Classifier(m, size=32),
    several=lambda m: torch.compile(nn.DataParallel(Classifier(m, size=32))))

@pytest.mark.parametrize('wrap', WRAPPERS)
def test_wrapped_networks_keep_the_names_of_their_layers(wrap, one_process):
    model = net().eval()
    plain,cam = feature_maps(model, X, ['0', '2']), grad_cam(model, X, '2')
    blocks = block_names(model, X)
    wrapped = WRAPPERS[wrap](model)
    check_same(feature_maps(wrapped, X, ['0', model[2]]), plain)
    check_same(grad_cam(wrapped, X, model[2]), cam)
    assert block_names(wrapped, X) == blocks
    maps = maps_and_baselines(model, X, '2', torch.tensor([0, 1]))
    check_same(maps_and_baselines(wrapped, X, '2', torch.tensor([0, 1])), maps)

def test_a_module_of_another_network():
    with pytest.raises(PetsError, match='this Conv2d is not a layer of the network'):
        grad_cam(net(), X, net()[0])

def test_scripted():
    model = net().eval()
    model[2] = torch.jit.script(model[2])
    with pytest.raises(PetsError, match='a scripted layer takes no hooks'):
        feature_maps(model, X, ['0', '2'])
    eager = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    assert not any(m._forward_hooks for m in eager) and block_names(model, X) == ['1']

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = net().eval().to(dtype)
    maps,cam = feature_maps(model, X, '2'), grad_cam(model, X, '2')
    assert maps['2'].dtype == cam['2'].dtype == dtype

def test_under_inference_mode():
    model = net().eval()
    classes = torch.tensor([0, 1])
    with torch.inference_mode(): inside = maps_and_baselines(model, X, '2', classes)
    check_same(inside, maps_and_baselines(model, X, '2', classes))

def test_answers_that_are_none():
    model = net().eval()
    broken = copy.deepcopy(model)
    with torch.no_grad(): broken[-1].bias[0] = float('nan')
    for look in (predicted_classes, lambda *given: grad_cam(*given, '0', 1)):
        with pytest.raises(PetsError, match='answered nan'): look(broken, X)
        with pytest.raises(PetsError, match=r'logits \(N,K\)'): look(model[:3], X)
    with pytest.raises(PetsError, match='1 maps, 2 regions'):
        energy_pointing_game(torch.rand(1, 8, 8), torch.rand(2, 3, 8, 8))
    segmentation = torchvision.models.segmentation.lraspp_mobilenet_v3_large
    fcn = segmentation(weights=None, weights_backbone=None).eval()
    with pytest.raises(PetsError, match='21 scores for 2 photos'):
        grad_cam(fcn, X, 'backbone.16', lambda output: output['out'].mean((2, 3))[0])
