// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using YoloQ.Native;

namespace YoloQ.Tests
{
    /// <summary>Prints layouts, numbers and imports as this runtime has them, in the form of tests/data/abi.txt.</summary>
    internal static class Abi
    {
        private static readonly Type[] Structs =
        {
            typeof(yq_options), typeof(yq_call), typeof(yq_image), typeof(Detection), typeof(yq_info),
            typeof(yq_stage_stats), typeof(yq_stats), typeof(yq_backend_desc)
        };

        // C# names of what the header names otherwise.
        private static readonly Dictionary<string, string> Fields = new Dictionary<string, string>
        {
            { "X1", "x1" }, { "Y1", "y1" }, { "X2", "x2" }, { "Y2", "y2" }, { "Score", "score" },
            { "ClassId", "class_id" }, { "Angle", "angle" }, { "_reserved", "reserved" }
        };

        private static readonly Dictionary<Enum, string> Numbers = new Dictionary<Enum, string>
        {
            { Status.Ok, "YQ_OK" }, { Status.InvalidArgument, "YQ_EINVAL" }, { Status.NotFound, "YQ_ENOTFOUND" },
            { Status.Package, "YQ_EPACKAGE" }, { Status.Backend, "YQ_EBACKEND" }, { Status.Timeout, "YQ_ETIMEOUT" },
            { Status.OutOfMemory, "YQ_ENOMEM" }, { Status.Device, "YQ_EDEVICE" }, { Status.Internal, "YQ_EINTERNAL" },
            { Hint.Default, "YQ_HINT_DEFAULT" }, { Hint.Latency, "YQ_HINT_LATENCY" },
            { Hint.Throughput, "YQ_HINT_THROUGHPUT" },
            { PixelFormat.Gray8, "YQ_FORMAT_GRAY8" }, { PixelFormat.Bgr24, "YQ_FORMAT_BGR24" },
            { PixelFormat.Rgb24, "YQ_FORMAT_RGB24" }, { PixelFormat.Bgra32, "YQ_FORMAT_BGRA32" },
            { PixelFormat.Rgba32, "YQ_FORMAT_RGBA32" }, { PixelFormat.Nv12, "YQ_FORMAT_NV12" },
            { ColorSpace.Default, "YQ_COLOR_DEFAULT" }, { ColorSpace.Bt601Full, "YQ_COLOR_BT601_FULL" },
            { ColorSpace.Bt709Limited, "YQ_COLOR_BT709_LIMITED" }, { ColorSpace.Bt709Full, "YQ_COLOR_BT709_FULL" },
            { LogLevel.Debug, "YQ_LOG_DEBUG" }, { LogLevel.Info, "YQ_LOG_INFO" },
            { LogLevel.Warning, "YQ_LOG_WARNING" }, { LogLevel.Error, "YQ_LOG_ERROR" }
        };

        internal static void Print(string[] unused)
        {
            foreach (Type type in Structs)
            {
                string name = type == typeof(Detection) ? "yq_detection" : type.Name;
                Console.WriteLine("struct {0} {1}", name, Marshal.SizeOf(type));
                foreach (FieldInfo field in type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
                {
                    string called = Fields.ContainsKey(field.Name) ? Fields[field.Name] : field.Name;
                    Console.WriteLine("  {0} {1} {2}", called, Marshal.OffsetOf(type, field.Name), SizeOf(field));
                }
            }
            foreach (KeyValuePair<Enum, string> pair in Numbers)
                Console.WriteLine("{0} {1}", pair.Value, Convert.ToInt32(pair.Key));
            Console.WriteLine("YQ_TIMEOUT_NONE {0}", DetectSettings.NoTimeout);
            Console.WriteLine("YQ_ABI_VERSION {0}", NativeLoader.AbiVersion);
            foreach (string name in Imports()) Console.WriteLine("import {0}", name);
            // Pinned and handed over as they are: a struct that needs marshalling cannot be pinned.
            foreach (Type type in Structs) GCHandle.Alloc(Activator.CreateInstance(type), GCHandleType.Pinned).Free();
        }

        private static int SizeOf(FieldInfo field)
        {
            object[] buffer = field.GetCustomAttributes(typeof(System.Runtime.CompilerServices.FixedBufferAttribute), false);
            return buffer.Length > 0 ? ((System.Runtime.CompilerServices.FixedBufferAttribute)buffer[0]).Length
                                     : Marshal.SizeOf(field.FieldType);
        }

        private static IEnumerable<string> Imports()
        {
            return from method in typeof(NativeMethods).GetMethods(BindingFlags.NonPublic | BindingFlags.Static)
                   where (method.Attributes & MethodAttributes.PinvokeImpl) != 0
                   orderby method.Name
                   select method.Name;
        }
    }
}
