"""Parse Caffe's text and binary files into protobuf messages, without checks of the layers.

No package on PyPI ships Caffe's messages in a form that today's protobuf loads. Therefore the part
that networks of images use is described here, field by field, and built at import.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from ..errors import NetworkError

_PACKAGE = "ssnet.caffe"
_ENUMS = {
    "Phase": "TRAIN TEST",
    "DimCheckMode": "STRICT PERMISSIVE",
    "VarianceNorm": "FAN_IN FAN_OUT AVERAGE",
    "PoolMethod": "MAX AVE STOCHASTIC",
    "RoundMode": "CEIL FLOOR",
    "EltwiseOp": "PROD SUM MAX",
    "Engine": "DEFAULT CAFFE CUDNN",
    # the layer types of V1, before 2014's `layer`
    "LayerType": "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN"
    " HDF5_DATA HDF5_OUTPUT IM2COL IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN"
    " MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID SOFTMAX SOFTMAX_LOSS SPLIT TANH WINDOW_DATA"
    " ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA"
    " SLICE MVN ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION",
}
# name[*]:number[:type][=default], where * means repeated and the default type is uint32.
# Blobs and their packed floats stay bytes, so that millions of floats become arrays without a copy.
_MESSAGES = {
    "BlobShape": "dim*:1:int64",
    "BlobProto": "num:1:int64 channels:2:int64 height:3:int64 width:4:int64"
    " data*:5:bytes shape:7:BlobShape",
    "UnpackedBlobProto": "data*:5:float",
    "FillerParameter": "type:1:string value:2:float min:3:float max:4:float mean:5:float"
    " std:6:float sparse:7:int32 variance_norm:8:VarianceNorm",
    "NetState": "phase:1:Phase level:2:int32 stage*:3:string",
    "NetStateRule": "phase:1:Phase min_level:2:int32 max_level:3:int32 stage*:4:string"
    " not_stage*:5:string",
    "ParamSpec": "name:1:string share_mode:2:DimCheckMode lr_mult:3:float decay_mult:4:float",
    "BatchNormParameter": "use_global_stats:1:bool=true moving_average_fraction:2:float"
    " eps:3:float=1e-5",
    "ConcatParameter": "concat_dim:1=1 axis:2:int32=1",
    "ConvolutionParameter": "num_output:1 bias_term:2:bool=true pad*:3 kernel_size*:4 group:5=1"
    " stride*:6 weight_filler:7:FillerParameter bias_filler:8:FillerParameter pad_h:9 pad_w:10"
    " kernel_h:11 kernel_w:12 stride_h:13 stride_w:14 engine:15:Engine axis:16:int32=1"
    " force_nd_im2col:17:bool dilation*:18",
    "CropParameter": "axis:1:int32=2 offset*:2",
    "DropoutParameter": "dropout_ratio:1:float scale_train:2:bool=true",
    "EltwiseParameter": "operation:1:EltwiseOp=SUM coeff*:2:float stable_prod_grad:3:bool",
    "InputParameter": "shape*:1:BlobShape",
    "PoolingParameter": "pool:1:PoolMethod=MAX kernel_size*:2 stride*:3 pad*:4 kernel_h:5"
    " kernel_w:6 stride_h:7 stride_w:8 pad_h:9 pad_w:10 engine:11:Engine global_pooling:12:bool"
    " round_mode:13:RoundMode=CEIL",
    "ReLUParameter": "negative_slope:1:float engine:2:Engine",
    "ScaleParameter": "axis:1:int32=1 num_axes:2:int32=1 filler:3:FillerParameter"
    " bias_term:4:bool bias_filler:5:FillerParameter",
    "SigmoidParameter": "engine:1:Engine",
    "SoftmaxParameter": "engine:1:Engine axis:2:int32=1",
    "LayerParameter": "name:1:string type:2:string bottom*:3:string top*:4:string"
    " loss_weight*:5:float param*:6:ParamSpec blobs*:7:bytes include*:8:NetStateRule"
    " exclude*:9:NetStateRule phase:10:Phase propagate_down*:11:bool"
    " concat_param:104:ConcatParameter convolution_param:106:ConvolutionParameter"
    " dropout_param:108:DropoutParameter eltwise_param:110:EltwiseParameter"
    " pooling_param:121:PoolingParameter relu_param:123:ReLUParameter"
    " sigmoid_param:124:SigmoidParameter softmax_param:125:SoftmaxParameter"
    " batch_norm_param:139:BatchNormParameter scale_param:142:ScaleParameter"
    " input_param:143:InputParameter crop_param:144:CropParameter",
    "V1LayerParameter": "bottom*:2:string top*:3:string name:4:string type:5:LayerType"
    " blobs*:6:bytes blobs_lr*:7:float weight_decay*:8:float concat_param:9:ConcatParameter"
    " convolution_param:10:ConvolutionParameter dropout_param:12:DropoutParameter"
    " pooling_param:19:PoolingParameter eltwise_param:24:EltwiseParameter"
    " relu_param:30:ReLUParameter include*:32:NetStateRule exclude*:33:NetStateRule"
    " loss_weight*:35:float sigmoid_param:38:SigmoidParameter softmax_param:39:SoftmaxParameter"
    " param*:1001:string blob_share_mode*:1002:DimCheckMode",
    "NetParameter": "name:1:string layers*:2:V1LayerParameter input*:3:string input_dim*:4:int32"
    " force_backward:5:bool state:6:NetState debug_info:7:bool input_shape*:8:BlobShape"
    " layer*:100:LayerParameter",
}
_FIELD = re.compile(r"(\w+)(\*?):(\d+)(?::(\w+))?(?:=(\S+))?")
_UNKNOWN_PARAMETER = re.compile(r'"ssnet\.caffe\.\w*(Layer|Net)Parameter" has no field')


def _add_field(to: descriptor_pb2.DescriptorProto, text: str) -> None:
    match = _FIELD.fullmatch(text)
    assert match, text
    name, star, number, kind, default = match.groups(default="")
    field = to.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if star else field.LABEL_OPTIONAL
    if kind in _MESSAGES or kind in _ENUMS:
        field.type = field.TYPE_ENUM if kind in _ENUMS else field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}" + (".Values" if kind in _ENUMS else "")
    else:
        field.type = field.Type.Value(f"TYPE_{(kind or 'uint32').upper()}")
    if default:
        field.default_value = default
    if star and kind == "int64":
        field.options.packed = True


def _classes() -> dict[str, type[message.Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="ssnet_caffe.proto", package=_PACKAGE)
    for name, values in _ENUMS.items():
        # an enum's values share the enclosing scope, where MAX would occur twice
        enum = file.message_type.add(name=name).enum_type.add(name="Values")
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for field in fields.split():
            _add_field(described, field)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _classes()


def new(name: str) -> Any:
    """Return an empty Caffe message of this type, e.g. `NetParameter`."""
    return _CLASSES[name]()


def from_text(text: bytes, file: str) -> tuple[Any, str]:
    """Return a prototxt's `NetParameter`, and a message on its first unknown parameter (or "").

    Raises `NetworkError` with line and column. An unknown field inside a known parameter is an
    error, as in Caffe.
    """
    net = new("NetParameter")
    try:
        try:
            _parse(text, net)
        except text_format.ParseError as error:
            if not _UNKNOWN_PARAMETER.search(str(error)):
                raise
            net = new("NetParameter")
            _parse(text, net, allow_unknown_field=True)
            return net, str(error)
    except (text_format.ParseError, ValueError, RecursionError, DeprecationWarning) as error:
        # ValueError: not UTF-8; RecursionError: nested too deep
        raise NetworkError(f"want a network's text in {file}, got an error at {error}") from None
    return net, ""


def _parse(text: bytes, net: Any, *, allow_unknown_field: bool = False) -> None:
    with warnings.catch_warnings():
        # Caffe refuses an unknown escape in a string; protobuf in Python only warns of it
        warnings.simplefilter("error", DeprecationWarning)
        text_format.Parse(text, net, allow_unknown_field=allow_unknown_field)


def from_bytes(name: str, data: bytes, file: str) -> Any:
    """Parse these bytes as the message of this name; raises `NetworkError` if they are not one."""
    parsed = new(name)
    try:
        parsed.ParseFromString(data)
    except message.DecodeError:
        raise NetworkError(
            f"want a caffemodel in {file}, got {len(data)} bytes that are not one, or not complete"
        ) from None
    return parsed
