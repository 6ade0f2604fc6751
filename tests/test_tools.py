"torch's tools on our networks, at all five depths: symbolic trace, feature extraction, script, export, compile; and torchvision's habits."
import pytest, torch
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from resnet_pets import resnet

DEPTHS = ('resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152')
TOOLS = dict(fx=torch.fx.symbolic_trace, script=torch.jit.script,
    export=lambda net: torch.export.export(net, (torch.zeros(2, 3, 64, 64),), dynamic_shapes=({0: torch.export.Dim('N')},)).module(),
    compile=lambda net: torch.compile(net, backend='aot_eager', fullgraph=True))

@pytest.fixture(scope='module', params=DEPTHS)
def net(request):
    torch.manual_seed(0)
    return getattr(resnet, request.param)(10).eval()

@pytest.mark.slow
@pytest.mark.parametrize('tool', TOOLS)
def test_tool(net, tool):
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad(): assert torch.allclose(TOOLS[tool](net)(x), net(x), atol=1e-4)

@pytest.mark.slow
def test_features(net):
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = create_feature_extractor(net, dict(layer2='a', layer4='b'))(x)
        assert torch.equal(found['b'], net.forward_features(x)) and found['a'].shape[1:] == (128*net.layer1[0].expansion, 8, 8)
    assert {'conv1', 'layer1.0.conv1', 'avgpool', 'fc'} <= set(get_graph_node_names(net)[0])

def test_torchvision_builds_on_it():
    "Its detection backbones ask for `inplanes` and the four stages by name."
    pyramid = _resnet_fpn_extractor(resnet.resnet18(), 5)
    assert [f.shape[1] for f in pyramid(torch.zeros(1, 3, 64, 64)).values()] == [256]*5

def test_scripted_training_step():
    net = torch.jit.script(resnet.tiny_resnet(num_classes=3))
    net(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())

def test_the_check_of_photos_stays():
    with pytest.raises(Exception, match='too few'): resnet.tiny_resnet()(torch.zeros(1, 3, 16, 16))
