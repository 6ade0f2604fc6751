"What only a GPU can show: commands, the same results as on the CPU, no memory kept, NCCL."
import copy, subprocess, sys
import pytest, torch
from torch import nn
from resnet_pets.cli import pets_evaluate, pets_explain, pets_export, pets_predict, pets_train
from resnet_pets.core import pick_precision, rng, seeded
from resnet_pets.data import read_pets
from resnet_pets.photos import open_photo
from resnet_pets.explorers import export_explorer
from resnet_pets.faithfulness import faithfulness
from resnet_pets.features import block_names, feature_maps
from resnet_pets.gradcam import activations_and_gradients, grad_cam
from resnet_pets.pictures import analyse
from resnet_pets.processes import convert_sync_batchnorm
from resnet_pets.resnet import tiny_resnet
from resnet_pets.runs import load_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no CUDA on this machine')
WORDS = ['demo', 'data.drawn=80', 'data.image_size=64', 'model.block=basic', 'model.layers=[1,2,1,1]',
    'model.width=8', 'optimizer.lr=2e-3', 'training.batch_size=8', 'training.epochs=2',
    'training.ema_decay=0.9', 'training.progressive_depth=0.5', 'training.progressive_size=48',
    'training.device=cuda', 'results.splits=[val]']

def difference(a, b)->float: # relative to the largest value
    return ((a.cpu()-b.cpu()).abs().max()/b.cpu().abs().max()).item()

@pytest.fixture(scope='module')
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RESNET_PETS_CACHE', str(home/'cache')); patch.setenv('TQDM_DISABLE', '1')
        yield home

def words(home, name, *more):
    folders = [f'data.folder={home/"pets"}', f'results.folder={home/"runs"}']
    return [*WORDS, *folders, '--run', name, *more]

@pytest.fixture(scope='module')
def run(home):
    assert pets_train(words(home, 'it')) == 0
    return load_run(home/'runs/it')

def test_commands(home, run):
    folder,photos = str(run.folder), [str(p.path) for p in read_pets(home/'pets')[:3]]
    assert run.report['evidence']['hardware'] == torch.cuda.get_device_name()
    commands = [(pets_evaluate, folder, '--split', 'test'), (pets_predict, *photos, '--run', folder),
        (pets_explain, '--run', folder), (pets_export, folder, '--format', 'pt2')]
    for command,*given in commands: assert command(given) == 0

@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'auto'])
def test_precisions(home, precision):
    assert pets_train(words(home, precision, f'training.precision={precision}')) == 0
    assert all(r['train_loss'] < 5 for r in load_run(home/'runs'/precision).history)

def test_auto_is_half_as_wide(): assert pick_precision('auto', torch.device('cuda')) in ('bf16', 'fp16')

def test_resume(home):
    assert pets_train(words(home, 'resumed', 'training.epochs=3')) == 0
    kept = load_run(home/'runs/resumed')
    kept.file('report.json').unlink()
    assert pets_train(words(home, 'resumed', 'training.epochs=3', '--resume')) == 0
    assert len(kept.history) == 3

def test_predictions_are_those_of_the_cpu(home, run):
    photos = [p.path for p in read_pets(home/'pets')[:20]]
    def logits(device):
        classifier = load_run(run.folder).classifier.to(device)
        with torch.inference_mode(): return classifier.logits(classifier.preprocess(photos))
    assert difference(logits('cuda'), logits('cpu')) < 1e-2

NCCL = '''
import sys, torch, torch.distributed as dist
from resnet_pets.cli import pets_train
from resnet_pets.processes import process_group
with process_group('cuda'):
    assert 'cuda:nccl' in dist.get_backend_config(), dist.get_backend_config()
    x = torch.full((1,), 3., device='cuda')
    dist.all_reduce(x)
    assert x.item() == 3
    assert pets_train(sys.argv[1:]) == 0
'''

def test_nccl(home):
    script = home/'train.py'
    script.write_text(NCCL)
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=1']
    command = [*torchrun, '--', str(script), *words(home, 'nccl', 'training.sync_batch_norm=true')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:]+done.stderr[-3000:]
    assert load_run(home/'runs/nccl').finished

def test_sync_batch_norm_is_that_of_torch():
    model = tiny_resnet().cuda()
    before = {k: v.data_ptr() for k,v in model.state_dict().items()}
    model = convert_sync_batchnorm(model)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and {type(m) for m in norms} == {nn.SyncBatchNorm}
    assert {k: v.data_ptr() for k,v in model.state_dict().items()} == before   # the same tensors

def test_inside():
    with seeded(0, 'cuda'): model = tiny_resnet().eval()
    x = torch.randn(2, 3, 64, 64, generator=rng(0))
    names = block_names(model, x)
    here = feature_maps(model, x, names), grad_cam(model, x, names, 1)
    model.cuda()
    there = feature_maps(model, x, names), grad_cam(model, x, names, 1)
    held = torch.cuda.memory_allocated()
    for _ in range(100): activations_and_gradients(model, x, names, 1)
    assert torch.cuda.memory_allocated() == held
    for a,b in zip(here, there):
        for name in names: assert b[name].is_cuda and difference(b[name], a[name]) < 1e-2

def test_explorers(home, run, tmp_path):
    photo = open_photo(read_pets(home/'pets')[0].path)
    here,there = (load_run(run.folder).classifier.to(device) for device in ('cpu', 'cuda'))
    a,b = (analyse(classifier, photo) for classifier in (here, there))
    assert a.classes == b.classes and abs(a.probabilities-b.probabilities).max() < 1e-2
    for key,cam in a.cams.items(): assert abs(b.cams[key]-cam).max() < .05*cam.max()+1e-5, key
    assert export_explorer(there, [photo], tmp_path/'page.html').stat().st_size > 10_000

def test_faithfulness(home, run):
    pets = read_pets(home/'pets')[:12]
    found = [faithfulness(copy.deepcopy(run.classifier).to(device), pets, steps=3) for device in ('cpu', 'cuda')]
    for measure in ('energy_pointing_game', 'deletion', 'insertion'):
        here,there = (f.scores('gradcam', measure).cpu() for f in found)
        torch.testing.assert_close(there, here, atol=.02, rtol=0)
    assert found[0].similarity.keys() == found[1].similarity.keys()
