"Networks of torchvision and timm, by the benchmark's own comparisons: blocks, maps against captum and grad-cam, explorers, export."
import sys
from pathlib import Path
import pytest, timm, torch
from PIL import Image
from resnet_pets.classifier import Classifier
from resnet_pets.core import PetsError
from resnet_pets.explorers import FeatureMapExplorer, GradCamExplorer
from resnet_pets.export import export_classifier, read_onnx
from resnet_pets.features import block_names, feature_maps, spatial_layers
from resnet_pets.gradcam import METHODS, activations_and_gradients, grad_cam
sys.path.append(str(Path(__file__).parents[1]/'benchmarks'))
from networks import CLASSES, CNNS, TRANSFORMERS, build, channels_first, difference, look, of_captum, of_package, on_grid

LAST = {'timm mobilenetv3_small_050': ('blocks.5.0', 288), 'timm mobilenetv4_conv_small': ('blocks.4.0', 960), 'timm resnetv2_50': ('norm', 2048),
    'timm ghostnet_050': ('blocks.9.0', 480), 'timm hgnetv2_b0': ('stages.3', 1024), 'torchvision vgg11': ('features.20', 512)}   # that once were wrong

@pytest.mark.parametrize('name', LAST)
def test_maps_of_cnns(name):
    "The last block is the last with more than one pixel; its map is captum's, bit by bit."
    network,x,layer,_ = build(name)
    assert (layer, feature_maps(network, x, layer)[layer].shape[1:]) == (LAST[name][0], (LAST[name][1], 4, 4))
    found = activations_and_gradients(network, x, block_names(network, x), CLASSES)
    assert all(a.ndim == 4 and min(a.shape[2:]) > 1 for a in found.activations.values())
    ours,theirs = grad_cam(network, x, network.get_submodule(layer), CLASSES)[layer], of_captum(network, x, layer)
    assert torch.equal(ours, theirs) and theirs.any() and difference(ours, of_package(network, x, layer)) < 1e-5
    assert torch.equal(grad_cam(network, x, layer, CLASSES, relu=True)[layer], theirs.relu())

def test_grids_of_adaptive_pooling_are_no_maps():
    network,x,*_ = build('torchvision vgg11')
    assert block_names(network, x[:,:,:64,:64])[-1] == 'features.20'   # 2×2, which its pooling blows up to 7×7

@pytest.mark.parametrize('name', [n for n in TRANSFORMERS if n != 'torchvision vit_b_16'] + [pytest.param('torchvision vit_b_16', marks=pytest.mark.slow)])
def test_maps_of_transformers(name):
    network,x,layer,reshape = build(name)
    kind = 'tokens' if reshape is on_grid else 'channels-last maps'
    for work in (lambda: block_names(network, x), lambda: grad_cam(network, x, layer, CLASSES), lambda: feature_maps(network, x, layer)):
        with pytest.raises(PetsError, match=rf'{kind} \(N,.*not maps \(N,C,h,w\).*reshape=lambda'): work()
    ours = grad_cam(network, x, layer, CLASSES, reshape=reshape)[layer]
    assert difference(ours, of_package(network, x, layer, reshape)) < 1e-5
    maps = feature_maps(network, x, layer, reshape)[layer]
    assert maps.shape[2:] == ours.shape[1:]

def test_channels_last_is_channels_first():
    network,x,*_ = build('torchvision swin_t')
    for method in METHODS:
        turned = grad_cam(network, x, 'norm', CLASSES, method, reshape=channels_first)['norm']
        assert torch.equal(turned, grad_cam(network, x, network.permute, CLASSES, method)['permute'])
    assert torch.equal(grad_cam(network, x, 'permute', CLASSES)['permute'], of_captum(network, x, 'permute'))
    with pytest.raises(PetsError, match=r'channels-last maps \(N,32,32,96\)'): feature_maps(network, x, 'features.0.1')   # turned by no layer with weights

def test_attention_is_no_map():
    network,x,*_ = build('timm vit_tiny_patch16_224')
    with pytest.raises(PetsError, match=r'this layer gives \(N,3,65,64\), not maps'): grad_cam(network, x, 'blocks.0.attn.k_norm', CLASSES)

def test_as_many_channels_as_columns():
    "Where the shape is (N,96,96,96) or (N,64,64,64), the order in memory tells the last axis from the first."
    swin = timm.create_model('swin_tiny_patch4_window7_224', img_size=384, window_size=12, depths=(2, 1, 1, 1))
    assert list(spatial_layers(swin, torch.rand(1, 3, 384, 384))) == ['patch_embed.proj']
    convnext = timm.create_model('convnext_pico')
    assert spatial_layers(convnext, torch.rand(1, 3, 256, 256))['stages.0.blocks.1'] == (64, 64, 64)

def test_reshape_that_does_not_fit():
    network,x,layer,_ = build('timm vit_tiny_patch16_224')
    with pytest.raises(PetsError, match=r'this layer, reshaped, gives tokens \(N,64,192\), not maps'): grad_cam(network, x, layer, reshape=lambda t: t[:,1:])

def test_grad_cam_explains_what_was_overwritten():
    "The one difference in the benchmark: a ReLU in place behind the last layer of torchvision's DenseNet."
    network,x,layer,_ = build('torchvision densenet121')
    found = activations_and_gradients(network, x, layer, CLASSES)
    overwritten = METHODS['gradcam'](found.activations[layer].relu(), found.gradients[layer])
    assert difference(overwritten, of_package(network, x, layer)) < 1e-5
    assert torch.equal(METHODS['gradcam'](found.activations[layer], found.gradients[layer]), of_captum(network, x, layer))

PHOTO = Image.effect_noise((150, 120), 60).convert('RGB')

@pytest.mark.slow
@pytest.mark.parametrize('name', ['timm mobilenetv4_conv_small', 'torchvision mobilenet_v3_small'])
def test_classifier_explorers_and_export(name, tmp_path):
    network,x,layer,_ = build(name)
    classifier = Classifier(network, x.shape[-1], classes=list('abcdefghij'))
    row = classifier.predict(PHOTO)[0]
    for kind in (FeatureMapExplorer, GradCamExplorer):
        seen = kind(classifier, dict(noise=PHOTO)).session.analysis('noise', 'model')
        assert seen.blocks[-1] == layer and seen.classes[0] == row['top_1']
    export_classifier(classifier, tmp_path, ['onnx'])
    photo = torch.tensor(classifier.square(PHOTO)[None]).permute(0, 3, 1, 2)/255
    logits = read_onnx(tmp_path/'model.onnx')(photo)['logits']
    assert difference(logits, classifier(classifier.preprocess(PHOTO)).detach()) < 1e-4

@pytest.mark.parametrize('kind', [FeatureMapExplorer, GradCamExplorer])
@pytest.mark.parametrize('name', ['timm vit_tiny_patch16_224', 'torchvision swin_t'])
def test_explorers_of_transformers(name, kind):
    network,x,*_ = build(name)
    classifier = Classifier(network, x.shape[-1])
    assert classifier.predict(PHOTO)[0]['top_1'].startswith('class ')
    with pytest.raises(PetsError, match='Transformer: its features are .* not maps'): kind(classifier, dict(noise=PHOTO))

@pytest.mark.slow
@pytest.mark.parametrize('name', [*CNNS, *TRANSFORMERS])
def test_all_that_were_tried(name):
    row = look(name)
    assert row['predict'] == row['ONNX'] == 'yes' and row['explorers'] == ('refused' if name in TRANSFORMERS else 'yes')
    assert row['difference from captum'] in (None, '0')
    assert float(row['from grad-cam']) < 1e-5 or name == 'torchvision densenet121'
