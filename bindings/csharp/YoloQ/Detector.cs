// SPDX-License-Identifier: Apache-2.0
using System;
using System.Runtime.CompilerServices;
using YoloQ.Native;

namespace YoloQ
{
    /// <summary>A model package on a device. Thread-safe: any number of threads may share one; `Info.Streams` calls run at
    /// once, the others wait, first come first served.</summary>
    /// <remarks>Bitmaps are accepted by the extension methods of <c>BitmapExtensions</c>, in this namespace.
    /// <para>Every method throws ObjectDisposedException after Dispose, and a YoloException when the library refuses:
    /// InvalidArgumentException, DetectionTimeoutException, BackendException, DeviceException.</para></remarks>
    public sealed partial class Detector : IDisposable
    {
        private readonly DetectorHandle _handle;
        private readonly BufferPool _buffers = new BufferPool(), _batchBuffers = new BufferPool();

        /// <summary>Loads a package, checks every byte of it, and puts its model on a device. May take seconds: engines
        /// compile here; use another thread than the user interface's.</summary>
        /// <param name="packagePath">the folder NAME.yoloq</param>
        /// <param name="options">null: the package's own choices</param>
        /// <exception cref="NativeLibraryException">the native library cannot be used</exception>
        /// <exception cref="NotFoundException">there is no such package or backend</exception>
        /// <exception cref="PackageException">the package is damaged, or for another chip or version</exception>
        /// <exception cref="InvalidArgumentException">an option is impossible</exception>
        /// <exception cref="BackendException">the chip's SDK is absent or refused</exception>
        public Detector(string packagePath, DetectorOptions options = null)
        {
            if (packagePath == null) throw new ArgumentNullException("packagePath");
            NativeLoader.Ensure();
            _handle = Create(packagePath, options ?? new DetectorOptions());
            try
            {
                Info = ReadInfo();
            }
            catch
            {
                Dispose();
                throw;
            }
            _queue = new DetectionQueue(Info.Streams);
        }

        /// <summary>What the detector is.</summary>
        public ModelInfo Info { get; private set; }

        /// <summary>Reads counters, times and device health; does not disturb running calls.</summary>
        public unsafe DetectorStatistics GetStatistics()
        {
            var stats = new yq_stats { size = (uint)sizeof(yq_stats) };
            Check(NativeMethods.yq_get_stats(_handle.Open(), ref stats));
            return new DetectorStatistics(stats);
        }

        /// <summary>Finds the objects of a picture. Copies nothing, allocates the result and nothing else.</summary>
        /// <param name="image">borrowed for the call</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <returns>the objects, best score first</returns>
        public DetectionResult Detect(ImageView image, DetectSettings settings = default(DetectSettings))
        {
            yq_call call = NewCall(settings);
            return Run(image, ref call, Capacity(settings), 0);
        }

        /// <summary>Finds the objects of a picture in an array.</summary>
        /// <param name="pixels">the rows, one after the other; at least (height - 1) * |stride| + one row of bytes</param>
        /// <param name="width">in pixels</param>
        /// <param name="height">in pixels</param>
        /// <param name="format">how the pixels lie in memory; NV12: the Y rows, then the UV rows, all with one stride</param>
        /// <param name="stride">bytes from a row to the next; 0: packed; negative: the first row of the array is the
        /// bottom one</param>
        /// <param name="region">look only here; default: the whole picture</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <exception cref="InvalidArgumentException">size, stride and format do not fit the array</exception>
        public unsafe DetectionResult Detect(byte[] pixels, int width, int height, PixelFormat format, int stride = 0,
            Roi region = default(Roi), DetectSettings settings = default(DetectSettings))
        {
            if (pixels == null) throw new ArgumentNullException("pixels");
            fixed (byte* data = pixels)
            {
                ImageView view = PixelBlock.View((IntPtr)data, pixels.LongLength, width, height, format, stride);
                view.Region = region;
                return Detect(view, settings);
            }
        }

#if NETSTANDARD2_1 || NETCOREAPP
        /// <summary>Finds the objects of a picture in a span; as the overload for arrays.</summary>
        /// <param name="pixels">the rows, one after the other; at least (height - 1) * |stride| + one row of bytes</param>
        /// <param name="width">in pixels</param>
        /// <param name="height">in pixels</param>
        /// <param name="format">how the pixels lie in memory; NV12: the Y rows, then the UV rows, all with one stride</param>
        /// <param name="stride">bytes from a row to the next; 0: packed; negative: the first row of the span is the bottom
        /// one</param>
        /// <param name="region">look only here; default: the whole picture</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <exception cref="InvalidArgumentException">size, stride and format do not fit the span</exception>
        public unsafe DetectionResult Detect(ReadOnlySpan<byte> pixels, int width, int height, PixelFormat format,
            int stride = 0, Roi region = default(Roi), DetectSettings settings = default(DetectSettings))
        {
            fixed (byte* data = pixels)
            {
                ImageView view = PixelBlock.View((IntPtr)data, pixels.Length, width, height, format, stride);
                view.Region = region;
                return Detect(view, settings);
            }
        }
#endif

        /// <summary>Finds the objects of a picture into a buffer of the caller's; allocates nothing at all.</summary>
        /// <param name="image">borrowed for the call</param>
        /// <param name="buffer">receives the objects, best score first; when it is full the rest is dropped</param>
        /// <param name="timings">what it took</param>
        /// <param name="settings">for this call; default: the detector's</param>
        /// <returns>how many objects were written</returns>
        public unsafe int Detect(ImageView image, Detection[] buffer, out Timings timings,
            DetectSettings settings = default(DetectSettings))
        {
            if (buffer == null) throw new ArgumentNullException("buffer");
            yq_image native = image.ToNative();
            yq_call call = NewCall(settings);
            uint count;
            fixed (Detection* found = buffer)
                Check(NativeMethods.yq_infer(_handle.Open(), ref native, ref call, found, (uint)buffer.Length, out count));
            timings = TimingsOf(call);
            return (int)count;
        }

        /// <summary>Ends the detector. May be called at any time, from any thread, more than once. Calls that run in other
        /// threads finish, and the last one frees the model; without such calls it is freed before Dispose returns, which
        /// takes up to 2 s if the device still holds a request past its deadline. Tasks of DetectAsync that wait fail with
        /// ObjectDisposedException.</summary>
        public void Dispose()
        {
            if (_queue != null) _queue.Close();
            _handle.End();
        }

        [MethodImpl(MethodImplOptions.NoInlining)] // see NativeMethods
        private static unsafe DetectorHandle Create(string packagePath, DetectorOptions options)
        {
            byte[] path = Utf8.Bytes("packagePath", packagePath);
            byte[] backend = Utf8.Bytes("Backend", options.Backend), device = Utf8.Bytes("Device", options.Device);
            byte[] cache = Utf8.Bytes("CacheFolder", options.CacheFolder);
            fixed (byte* pathText = path, backendText = backend, deviceText = device, cacheText = cache)
            {
                var native = new yq_options
                {
                    size = (uint)sizeof(yq_options),
                    backend = (IntPtr)backendText,
                    device = (IntPtr)deviceText,
                    cache_dir = (IntPtr)cacheText,
                    score_threshold = options.ScoreThreshold,
                    iou_threshold = options.IouThreshold,
                    max_detections = Whole("MaxDetections", options.MaxDetections),
                    streams = Whole("Streams", options.Streams),
                    timeout_ms = options.TimeoutMilliseconds(),
                    hint = (int)options.Hint
                };
                IntPtr handle;
                int status = NativeMethods.yq_create(out handle, pathText, ref native);
                if (status != 0) throw YoloException.LastError(status);
                return new DetectorHandle(handle);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)] // see NativeMethods
        private unsafe ModelInfo ReadInfo()
        {
            var info = new yq_info { size = (uint)sizeof(yq_info) };
            Check(NativeMethods.yq_get_info(_handle, ref info));
            var names = new string[info.class_count];
            for (int i = 0; i < names.Length; ++i) names[i] = Utf8.Text(NativeMethods.yq_class_name(_handle, i));
            return new ModelInfo(info, names);
        }

        private unsafe DetectionResult Run(ImageView image, ref yq_call call, int capacity, float waitedMs)
        {
            yq_image native = image.ToNative();
            Detection[] buffer = _buffers.Rent(Info.MaxDetections);
            try
            {
                uint count;
                fixed (Detection* found = buffer)
                    Check(NativeMethods.yq_infer(_handle.Open(), ref native, ref call, found, (uint)capacity, out count));
                call.queue_ms += waitedMs;
                return Result(buffer, 0, (int)count, (int)call.found, TimingsOf(call));
            }
            finally
            {
                _buffers.Return(buffer);
            }
        }

        private DetectionResult Result(Detection[] buffer, int start, int count, int found, Timings timings)
        {
            Detection[] detections = count == 0 ? BufferPool.Empty : new Detection[count];
            Array.Copy(buffer, start, detections, 0, count);
            return new DetectionResult(detections, Info.ClassNames, found, timings);
        }

        private int Capacity(DetectSettings settings)
        {
            int wanted = settings.MaxDetections;
            if (wanted < 0 || wanted > Info.MaxDetections)
                throw new InvalidArgumentException("DetectSettings.MaxDetections is " + wanted + ": it must be at most the "
                    + "detector's " + Info.MaxDetections + ", or 0; raise DetectorOptions.MaxDetections");
            return wanted == 0 ? Info.MaxDetections : wanted;
        }

        private static unsafe yq_call NewCall(DetectSettings settings)
        {
            return new yq_call
            {
                size = (uint)sizeof(yq_call),
                score_threshold = settings.ScoreThreshold,
                iou_threshold = settings.IouThreshold,
                timeout_ms = settings.NativeTimeout()
            };
        }

        private static Timings TimingsOf(yq_call call)
        {
            return new Timings
            {
                QueueMs = call.queue_ms,
                PreprocessMs = call.preprocess_ms,
                EngineMs = call.engine_ms,
                DecodeMs = call.decode_ms
            };
        }

        private static uint Whole(string name, int value)
        {
            if (value < 0) throw new InvalidArgumentException(name + " is " + value + ": it must be 1 or more, or 0 for the package's");
            return (uint)value;
        }

        private static void Check(int status)
        {
            if (status != 0) throw YoloException.LastError(status);
        }
    }
}
