__version__ = "0.0.1"

_HOME = dict(Classifier='classifier', ResNet='resnet', resnet18='resnet', resnet34='resnet', resnet50='resnet',
    resnet101='resnet', resnet152='resnet', load_weights='resnet', BasicBlock='blocks', Bottleneck='blocks',
    grad_cam='gradcam', feature_maps='features', FeatureMapExplorer='explorers', GradCamExplorer='explorers',
    export_explorer='explorers', draw_pets='draw', load_config='config', load_run='runs', fit='experiments',
    evaluate_run='experiments')

__all__ = [*_HOME]

def __getattr__(name):   # a name is imported when it is first asked for, so `import resnet_pets` stays light
    if name not in _HOME: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module
    return getattr(import_module(f'.{_HOME[name]}', __name__), name)

def __dir__(): return sorted({*globals(), *_HOME})
