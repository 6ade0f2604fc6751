"Networks that do what most don't: looked into without a trace, and made to forget all."
import copy
import pytest, torch, torchvision
from torch import nn
from resnet_pets.core import PetsError
from resnet_pets.features import block_names, feature_maps
from resnet_pets.faithfulness import cascading_randomization, measure_heat
from resnet_pets.gradcam import grad_cam
from resnet_pets.localization import compared_maps, energy_pointing_game, predicted_classes, untrained

X = torch.rand(2, 3, 32, 32)

def net(*first): return nn.Sequential(*first, nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

@pytest.mark.filterwarnings('ignore')
def test_weights_made_of_other_weights_are_forgotten():
    for norm in (nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.weight_norm):
        model = net()
        norm(model[0]); norm(model[-1])
        model(X)    # leaves tensors behind that can't be copied
        assert (model.eval()(X)-untrained(model)(X)).abs().min() > 1e-4
        regions = torch.ones(2, 3, 32, 32)
        measured,similar = measure_heat(model, [(X, regions)], '2', steps=2, cells=4)
        assert not torch.equal(measured['gradcam', 'insertion'], measured['untrained', 'insertion']) and similar

def test_a_layer_of_two_names_is_forgotten_under_either():
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    model.alias = nn.Sequential(*model.backbone)
    before = model.backbone[0].weight.clone()
    for part in ('alias', 'backbone'): assert not torch.equal(next(cascading_randomization(model, [part]))[1].backbone[0].weight, before)

@pytest.mark.parametrize('first', [nn.ReLU(inplace=True), nn.Hardtanh(0., .5, inplace=True)])
def test_work_in_place_does_not_reach_the_batch(first):
    model,batch = net(first).eval(), X.clone()-.5
    for look in (lambda: feature_maps(model, batch, '3'), lambda: grad_cam(model, batch, '3'), lambda: block_names(model, batch), lambda: predicted_classes(model, batch)):
        look()
        assert torch.equal(batch, X-.5)

@pytest.mark.parametrize('how', ['whole', 'part'])
def test_compiled_in_place(how):
    model = net().eval()
    plain,cam = feature_maps(model, X, ['0', '2']), grad_cam(model, X, ['0', '2'])
    if how == 'whole': model.compile(backend='eager')
    else: model[2] = torch.compile(model[2], backend='eager')
    with torch.no_grad(): model(X)
    model(X)
    for found,known in ((feature_maps(model, X, ['0', '2']), plain), (grad_cam(model, X, ['0', '2']), cam)):
        for k in known: torch.testing.assert_close(found[k], known[k])
    assert len(block_names(model, X)) == 2

def test_scripted():
    model = net().eval()
    model[2] = torch.jit.script(model[2])
    with pytest.raises(PetsError, match='a scripted layer takes no hooks'): feature_maps(model, X, ['0', '2'])
    assert not any(m._forward_hooks for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)) and block_names(model, X) == ['1']

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    model = net().eval().to(dtype)
    assert feature_maps(model, X, '2')['2'].dtype == grad_cam(model, X, '2')['2'].dtype == dtype

def test_under_inference_mode():
    model = net().eval()
    with torch.inference_mode(): inside = compared_maps(model, X, '2', torch.tensor([0, 1]))
    for k,v in compared_maps(model, X, '2', torch.tensor([0, 1])).items(): torch.testing.assert_close(inside[k], v)

def test_answers_that_are_none():
    model = net().eval()
    broken = copy.deepcopy(model)
    with torch.no_grad(): broken[-1].bias[0] = float('nan')
    with pytest.raises(PetsError, match='answered nan'): predicted_classes(broken, X)
    with pytest.raises(PetsError, match='no table of logits'): predicted_classes(model[:3], X)
    with pytest.raises(PetsError, match='1 maps, 2 regions'): energy_pointing_game(torch.rand(1, 8, 8), torch.rand(2, 3, 8, 8))
    fcn = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    with pytest.raises(PetsError, match='21 numbers for 2 photos'): grad_cam(fcn, X, 'backbone.16', lambda output: output['out'].mean((2, 3))[0])
