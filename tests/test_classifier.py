"One photo has one answer, whoever asks; and networks of other libraries are asked in the same way."
import csv, json, math
from contextlib import redirect_stdout
from io import StringIO
import numpy as np, pytest, timm, torch, torchvision
from PIL import Image
from resnet_pets.classifier import Classifier
from resnet_pets.cli import pets_evaluate, pets_predict, pets_train
from resnet_pets.draw import draw_pets
from resnet_pets.explain import _look, explain
from resnet_pets.explorers import FeatureMapExplorer, GradCamExplorer, export_explorer
from resnet_pets.export import export_classifier, read_onnx, read_pt2
from resnet_pets.runs import Run

ON_ITS_SIDE = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'

@pytest.fixture(scope='module')
def run(tmp_path_factory): # of a tiny network, whose validation photos have odd shapes
    home = tmp_path_factory.mktemp('one')
    pets = draw_pets(home/'pets', n=80, size=200)
    for i,path in enumerate(sorted((pets/'images').iterdir())):
        photo = Image.open(path).resize((200+37*(i%5), 200+53*(i%3)))
        photo.save(path, quality=90, exif=ON_ITS_SIDE if i%2 else b'')
    words = ['demo', 'data.source=folder', f'data.folder={pets}', 'data.image_size=64', 'model.block=basic', 'model.layers=[1,1,1,1]', 'model.width=8',
        'training.epochs=1', 'training.batch_size=8', 'training.precision=fp32', 'training.device=cpu', 'results.splits=[val]', f'results.folder={home/"runs"}']
    assert pets_train([*words, '--run', 'one']) == 0
    return Run(home/'runs/one')

def said(*words)->list[dict]:
    out = StringIO()
    with redirect_stdout(out): assert pets_predict([*map(str, words), '--format', 'json']) == 0
    return json.loads(out.getvalue())

def logit(p): return math.log(p/(1-p))

@pytest.fixture(scope='module')
def table(run): # name → (path, z) as the evaluation of the run has it
    folder = run.config.data.folder/'images'
    with open(run.file('predictions.csv'), newline='') as f: return {r['name']: (folder/f"{r['name']}.jpg", float(r['z'])) for r in csv.DictReader(f)}

def test_evaluation_again(run, table):
    assert pets_evaluate([str(run.folder)]) == 0
    with open(run.file('predictions.csv'), newline='') as f: again = {r['name']: float(r['z']) for r in csv.DictReader(f)}
    for name,(_,z) in table.items(): assert abs(again[name]-z) < 1e-5

def test_predict(run, table):
    rows = run.classifier.predict([path for path,_ in table.values()], flip=False)
    for row,(path,z) in zip(rows, table.values()):
        assert abs(logit(row['p_dog'])-z) < 1e-5 and row['file'] == str(path)
        assert row['species'] == ('dog' if z > 0 else 'cat')
        assert {row[f'top_{k}'] for k in (1, 2, 3)} <= set(run.classifier.classes) and row['p_1'] >= row['p_2'] >= row['p_3']

def test_command(run, table):
    for row,(_,z) in zip(said(*(path for path,_ in table.values()), '--run', run.folder), table.values()): assert abs(logit(row['p_dog'])-z) < 1e-5

def test_bytes_arrays_and_images(run, table):
    path,z = next(iter(table.values()))
    upright = np.asarray(Image.open(path)) if Image.open(path).getexif().get(274, 1) == 1 else np.rot90(np.asarray(Image.open(path)), -1)
    for photo in (path.read_bytes(), Image.open(path), upright.copy()): assert abs(logit(run.classifier.predict(photo)[0]['p_dog'])-z) < 1e-5

def test_explain(run, table):
    classifier = run.classifier
    look = _look(classifier, classifier.preprocess([path for path,_ in table.values()]))
    z = torch.tensor([z for _,z in table.values()])
    assert (look.scores[1]-z).abs().max() < 1e-5 and (look.scores[0]+z).abs().max() < 1e-5

@pytest.mark.parametrize('kind', [FeatureMapExplorer, GradCamExplorer])
def test_explorers(run, table, kind):
    few = dict(list(table.items())[:3])
    explorer = kind(run.classifier, {name: path for name,(path,_) in few.items()})
    for name,(_,z) in few.items():
        seen = explorer.session.analysis(name, 'model')
        assert seen.classes[:2] == ['cat', 'dog'] and abs(logit(float(seen.probabilities[1]))-z) < 1e-5

@pytest.mark.parametrize('format', ['onnx', 'pt2'])
def test_export(run, table, tmp_path, format):
    classifier = run.classifier
    export_classifier(classifier, tmp_path, [format])
    network = dict(onnx=read_onnx, pt2=read_pt2)[format](tmp_path/f'model.{format}')
    squares = np.stack([classifier.square(path) for path,_ in table.values()])
    z = network(torch.from_numpy(squares).permute(0, 3, 1, 2).float()/255)['z']
    assert (z-torch.tensor([z for _,z in table.values()])).abs().max() < 1e-4

OTHERS = dict(torchvision=lambda: Classifier(torchvision.models.resnet18(num_classes=4), size=64, classes=list('abcd')),
    timm=lambda: Classifier(timm.create_model('resnet18', num_classes=4), size=64, classes=list('abcd')))

@pytest.mark.parametrize('library', ['torchvision', pytest.param('timm', marks=pytest.mark.slow)])
def test_networks_of_others(library, table, tmp_path):
    torch.manual_seed(0)
    classifier,path = OTHERS[library]().eval(),next(iter(table.values()))[0]
    row = classifier.predict(path)[0]
    assert row['top_1'] in 'abcd' and 'species' not in row
    for kind in (FeatureMapExplorer, GradCamExplorer):
        seen = kind(classifier, path).session.analysis(path.stem, 'model')
        assert abs(float(seen.probabilities[seen.classes.index(row['top_1'])])-row['p_1']) < 1e-6
    assert 'layer4.1' in seen.blocks
    assert export_explorer(classifier, path, tmp_path/'page.html').stat().st_size > 10_000
    assert explain(classifier, path, tmp_path/'look').is_file()
    export_classifier(classifier, tmp_path, ['onnx'])
    logits = read_onnx(tmp_path/'model.onnx')(torch.from_numpy(classifier.square(path)[None].copy()).permute(0, 3, 1, 2).float()/255)['logits']
    assert (logits-classifier(classifier.preprocess(path))).abs().max() < 1e-4
