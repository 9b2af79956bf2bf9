// DLPack 1.x, as published: the structures that cross the boundary to torch.

struct DLDevice { int32_t type, id; };
struct DLDataType { uint8_t code, bits; uint16_t lanes; };
struct DLTensor {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape, *strides;
    uint64_t byte_offset;
};
struct DLVersion { uint32_t major, minor; };
struct DLManaged {
    DLVersion version;
    void *context;
    void (*deleter)(DLManaged *);
    uint64_t flags;
    DLTensor tensor;
};
struct DLExchange {
    DLVersion version;
    void *older;
    int (*allocate)(DLTensor *, DLManaged **, void *, void (*)(void *, const char *, const char *));
    int (*managed_of)(void *, DLManaged **);
    int (*object_of)(DLManaged *, void **);
    int (*view_of)(void *, DLTensor *);
    int (*stream_of)(int32_t, int32_t, void **);
};
constexpr int CPU = 1, REAL = 2, COMPLEX = 5, BOOL = 6;  // the codes between are other floats

